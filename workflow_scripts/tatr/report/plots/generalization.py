"""Accuracy on tasks that are not merged."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from tatr.report.plots import certainty, with_intervals
from tatr.report.style import PAGE, figure, look
from tatr.report.table_text import signed


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Per split a pair of bars for the merged and for the unseen tasks, with what the trust region changes above."""
    splits = [*dict.fromkeys(table["split"])]
    drawn, panels = figure(PAGE, 2.6, columns=len(splits), sharey=True)
    for axes, split in zip(panels, splits, strict=True):
        its = table[table["split"] == split]
        heights = {column: with_intervals(its, ["tasks"], column) for column in ("without", "inside")}
        changes = with_intervals(its, ["tasks"], "difference")
        for index, (column, found) in enumerate(heights.items()):
            places = [place + 0.38 * index for place in range(len(found))]
            colour, hatch = (("0.75", ""), (look(0).colour, "//"))[index]
            label = {"without": "without a trust region", "inside": "inside of one"}[column]
            axes.bar(places, found["value"], 0.36, color=colour, hatch=hatch, edgecolor="white", label=label)
        tops = pd.concat([found["value"] for found in heights.values()], axis=1).max(axis=1)
        for place, (top, line) in enumerate(
            zip(tops, changes[["value", "low", "high"]].to_numpy().tolist(), strict=True)
        ):
            text = "{}\n[{}, {}]".format(*(signed(figure, 1) for figure in line))
            axes.annotate(text, (place + 0.19, top), (0, 2), textcoords="offset points", ha="center", fontsize=6.5)
        axes.set_xticks([place + 0.19 for place in range(len(changes))], [*changes["tasks"]])
        unseen = ", ".join(names.get(task, task) for task in split.split(", "))
        axes.set_title(f"unseen: {unseen}")
        axes.margins(y=0.2)
    panels[0].set_ylabel("average test accuracy, %")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return drawn


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    return (
        f"{settings['method']} with λ = {settings['coefficient']}, merged from all tasks but the unseen ones: average "
        f"test accuracy on the merged and on the unseen tasks, without a trust region and inside that of "
        f"{settings['sensitivity']} with τ = {settings['tau']}. Above: the difference in points ({certainty(table)}). "
        "The paper's Table 4."
    )
