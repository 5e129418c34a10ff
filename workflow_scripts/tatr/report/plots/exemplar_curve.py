"""Accuracy against the number of exemplars."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from tatr.report.plots import certainty
from tatr.report.plots.curve import level, lines
from tatr.report.style import COLUMN, PAGE, figure

LEVELS = {"without": "without a trust region", "zero_shot": "zero-shot trust region"}


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A panel per merge, its line over a logarithmic axis, and the rows that need no exemplars as levels."""
    curves = [*dict.fromkeys(table["curve"])]
    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    drawn, panels = figure(PAGE if columns > 1 else COLUMN, 0.3 + 2.3 * rows, rows, columns)
    for axes, curve in zip(panels, curves, strict=False):
        its = table[table["curve"] == curve]
        lines(axes, its[its["kind"] == "curve"].assign(curve="measured gradients"), "exemplars")
        fixed = its[its["kind"] != "curve"].groupby("kind", sort=False)["accuracy"].mean()
        level(axes, [(LEVELS[kind], height) for kind, height in fixed.items()])
        counts = sorted(set(its.loc[its["kind"] == "curve", "exemplars"]))
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_xlabel("exemplars per task")
        axes.set_ylabel("average test accuracy, %")
        axes.grid(axis="y")
        axes.set_title(curve)
    for axes in panels[len(curves) :]:
        axes.remove()
    shown = {name: handle for axes in panels for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    drawn.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3)
    return drawn


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    return (
        "Average test accuracy against the number of exemplars with which each task's gradients are measured "
        f"({certainty(table)}). Horizontal lines: the same merge without a trust region (0 exemplars) and with the "
        "zero-shot one. The paper's Table 5 and Fig. 3a."
    )
