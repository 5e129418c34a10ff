"""Plots of tables."""

from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd
from matplotlib.figure import Figure

from tatr.report.table_text import marked_names, notes
from tatr.report.tables import SEEDS, UNSEEN_AVERAGE, accuracies, references


def methods_figure(
    table: pd.DataFrame, width: float, colour: str, paper: Mapping[str, float] = MappingProxyType({})
) -> Figure:
    """Average accuracy per method as dots on a line, each task's accuracy faintly behind it; of unseen tasks the mean.

    Args:
        table: of `tatr.report.tables.methods_table`.
        width: inches.
        colour: of the averages of merges.
        paper: the paper's averages in percent by row's name, for the rows that it has; drawn as hollow marks.
    """
    figure = Figure(figsize=(width, 1.2 + 0.32 * len(table)), layout="constrained")
    axes = figure.subplots()
    columns = accuracies(table).columns
    tasks = columns[: columns.get_loc("average")]
    rows = range(len(table))
    for task in tasks:
        axes.scatter(table[task], rows, s=12, color="0.8", zorder=1)
    above = references(table)
    colours = ["0.3"] * above + [colour] * (len(table) - above)
    axes.scatter(table["average"], rows, s=46, color=colours, zorder=3)
    if SEEDS in table:
        ends = table[["average_low", "average_high"]].sub(table["average"], axis=0).abs().fillna(0).to_numpy().T
        axes.errorbar(table["average"], rows, xerr=ends, fmt="none", ecolor="0.5", elinewidth=1, zorder=2)
    # Larger than our marks, so that both are visible where they are equal.
    if printed := [(paper[name], row) for row, name in enumerate(table.index) if name in paper]:
        averages, places = zip(*printed, strict=True)
        axes.scatter(averages, places, s=100, facecolors="none", edgecolors="0.55", linewidths=0.9, zorder=2)
    if UNSEEN_AVERAGE in table:
        axes.scatter(table[UNSEEN_AVERAGE], rows, s=26, marker="D", color=colours, alpha=0.5, zorder=2)
    for row, average in enumerate(table["average"]):
        axes.annotate(f"{average:.1f}", (average, row), (0, 6), textcoords="offset points", ha="center", fontsize=7)
    axes.set_yticks(list(rows), marked_names(table))
    axes.set_ylim(len(table) - 0.3, -0.9)  # from top to bottom; equal room around few and many rows
    axes.axhline(above - 0.5, color="0.85", linewidth=0.8)
    legend = ["test accuracy, %", "large: average over tasks", "small: each task"]
    legend += [f"line: 95 % interval over {table[SEEDS].max()} seeds"] if SEEDS in table else []
    legend += ["diamond: average over unseen tasks"] if UNSEEN_AVERAGE in table else []
    legend += [*(["hollow: the paper's average"] if printed else []), *notes(table)]
    axes.set_xlabel("\n".join(legend), loc="right", fontsize=9)
    axes.grid(axis="x", color="0.93")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure
