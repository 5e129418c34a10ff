"""Differences between rows."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from tatr.report.plots import certainty, with_intervals
from tatr.report.style import PAGE, figure, look


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A dot and an interval per pair."""
    found = with_intervals(table, ["row", "other"], "difference")
    drawn, (axes,) = figure(PAGE, 0.7 + 0.34 * len(found))
    places = range(len(found))
    axes.axvline(0, color="0.6", linewidth=0.8)
    reach = [found["value"] - found["low"], found["high"] - found["value"]]
    real = (found["low"] > 0) | (found["high"] < 0)
    axes.errorbar(found["value"], places, xerr=reach, fmt="none", ecolor="0.4", capsize=2)
    colours = [look(0).colour if told else "white" for told in real]
    axes.scatter(found["value"], places, 24, colours, zorder=3, edgecolors=look(0).colour)
    axes.set_yticks(places, [f"{row}\nminus {other}" for row, other in zip(found["row"], found["other"], strict=True)])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlabel("points of average test accuracy")
    axes.grid(axis="x")
    return drawn


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    return (
        f"Average test accuracy of one row minus that of another, paired ({certainty(table)}). Filled: the interval "
        "excludes zero."
    )
