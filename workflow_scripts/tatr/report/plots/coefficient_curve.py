"""Accuracy against λ."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from tatr.report.plots import averaged
from tatr.report.plots.curve import lines
from tatr.report.style import PAGE, figure


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A line per row, of its best τ where it tried several."""
    drawn, (axes,) = figure(PAGE, 2.8)
    best = table.groupby(["row", "seed", "coefficient"], sort=False)["accuracy"].max().reset_index()
    lines(axes, best.rename(columns={"row": "curve"}), "coefficient")
    axes.set_xlabel("λ")
    axes.set_ylabel("average validation accuracy, %")
    axes.grid(axis="y")
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return drawn


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    return (
        "Average validation accuracy of the rows that choose λ on validation, against λ"
        f"{averaged(table)}; where a row chooses τ as well, with the best τ of each λ."
    )
