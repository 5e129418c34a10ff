"""What the figures of curves have in common."""

from collections.abc import Iterable

import pandas as pd
from matplotlib.axes import Axes

from tatr.report.plots import with_intervals
from tatr.report.style import line, look


def lines(axes: Axes, table: pd.DataFrame, x: str, value: str = "accuracy") -> None:
    """A line per `curve`, with a band for its interval."""
    found = with_intervals(table, ["curve", x], value)
    for index, (name, its) in enumerate(found.groupby("curve", sort=False)):
        ordered = its.sort_values(x)
        line(axes, ordered[x], ordered["value"], index, str(name))
        if ordered["low"].notna().any():
            axes.fill_between(ordered[x], ordered["low"], ordered["high"], color=look(index).colour, alpha=0.12, lw=0)


def level(axes: Axes, heights: Iterable[tuple[str, float]]) -> None:
    """Horizontal lines to compare with."""
    for index, (name, height) in enumerate(heights):
        axes.axhline(height, color="0.35", linewidth=0.9, linestyle=("--", ":")[index % 2], label=name)
