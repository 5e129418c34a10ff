"""Accuracy against τ."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from tatr.report.plots import certainty
from tatr.report.plots.curve import lines
from tatr.report.style import PAGE, figure


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A line per merge and sensitivity over τ, from 0 (no trust region)."""
    drawn, (axes,) = figure(PAGE, 2.8)
    lines(axes, table.assign(percent=100 * table["tau"]), "percent")
    shown = sorted({100 * tau for tau in table["tau"]})
    axes.set_xscale("symlog", linthresh=shown[1] if len(shown) > 1 else 1)
    axes.set_xticks(shown, [f"{tau:g}" for tau in shown])
    axes.minorticks_off()
    axes.set_xlabel("τ, % of the parameters left as they are")
    axes.set_ylabel("average test accuracy, %")
    axes.grid(axis="y")
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return drawn


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    return (
        f"Average test accuracy against τ, the share of the parameters that a merge leaves as they are "
        f"({certainty(table)}). At 0 the merge has no trust region. The scale is logarithmic above the first τ. "
        "The paper's Fig. 3b."
    )
