"""Overlap of trust regions."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tatr.report.style import PAGE, SEQUENTIAL, cells, figure

MOST = 14
"""Trust regions that are drawn; the table has all."""


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A matrix of the regions of one τ, the one of most regions."""
    chosen = _chosen(table)
    labels = [*dict.fromkeys(chosen["name"])][:MOST]
    values = chosen.pivot_table(index="name", columns="other_name", values="jaccard").reindex(labels, columns=labels)
    drawn, (axes,) = figure(min(PAGE, 2.4 + 0.36 * len(labels)), 1.6 + 0.24 * len(labels))
    between = values.to_numpy()[~np.eye(len(labels), dtype=bool)]
    image = cells(
        axes,
        values.to_numpy(),
        labels,
        labels,
        "{:.2f}",
        cmap=SEQUENTIAL,
        vmin=0,
        vmax=max(between.max(), 0.01) if between.size else 1,
    )
    drawn.colorbar(image, ax=axes, label="Jaccard index")
    return drawn


def _chosen(table: pd.DataFrame) -> pd.DataFrame:
    tau = _most_frequent(table)
    chosen, several = table[table["tau"] == tau], table["seed"].min() < table["seed"].max()
    without = f", τ {100 * tau:g} %"

    def named(region: str, seed: int) -> str:
        return region.replace(without, "") + (f", seed {seed}" if several else "")

    return chosen.assign(
        name=[named(*pair) for pair in zip(chosen["region"], chosen["seed"], strict=True)],
        other_name=[named(*pair) for pair in zip(chosen["other"], chosen["other_seed"], strict=True)],
    )


def _most_frequent(table: pd.DataFrame) -> float:
    return float(table["tau"].mode().iloc[0])


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    tau = _most_frequent(table)
    return (
        f"Of the parameters that two trust regions of τ = {100 * tau:g} % leave out, the share that both do (Jaccard "
        f"index). Two regions that know nothing of each other have {tau / (2 - tau):.3f}."
    )
