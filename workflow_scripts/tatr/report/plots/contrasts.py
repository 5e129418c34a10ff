"""Differences between rows."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from tatr.report.plots import certainty, with_intervals
from tatr.report.style import PAGE, figure, look
from tatr.report.table_text import signed


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
    axes.set_xscale("symlog", linthresh=1)
    ticks = [sign * size for size in (0, 0.5, 1, 2, 5, 10, 20, 50) for sign in (-1, 1) if size]
    axes.set_xticks([0, *ticks], ["0", *(f"{tick:+g}" for tick in ticks)])
    axes.minorticks_off()
    ends = found[["value", "low", "high"]].to_numpy()
    axes.set_xlim(min(-1.0, 1.3 * float(ends.min())), max(1.0, 1.3 * float(ends.max())))
    for place, figures in enumerate(found[["value", "low", "high"]].to_numpy().tolist()):
        text = "{} [{}, {}]".format(*(signed(figure, 1) for figure in figures))
        axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7)
    axes.set_xlabel("points of average test accuracy (linear from −1 to 1, logarithmic beyond)")
    axes.grid(axis="x")
    return drawn


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    return (
        f"Average test accuracy of one row minus that of another, paired ({certainty(table)}). Filled: the interval "
        "excludes zero."
    )
