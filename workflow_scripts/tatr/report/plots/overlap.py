"""Overlap of trust regions."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tatr.report.style import PAGE, SEQUENTIAL, cells, figure

MOST = 14
"""Trust regions that are drawn; the table has all."""


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A matrix of the regions of one τ, the one of most regions; of several seeds, the diagonal compares these."""
    chosen = table[table["tau"] == _most_frequent(table)]
    regions = [*dict.fromkeys(chosen["region"])][:MOST]
    same = chosen["seed"] == chosen["other_seed"]
    values = _matrix(chosen[same], regions)
    apart = ~np.eye(len(regions), dtype=bool)
    if not same.all():
        values = np.where(apart, values, _matrix(chosen[~same], regions))
    labels = [region.rpartition(", τ")[0] for region in regions]
    drawn, (axes,) = figure(min(PAGE, 2.4 + 0.36 * len(labels)), 1.6 + 0.24 * len(labels))
    highest = float(values[apart].max()) if apart.any() else 1.0
    image = cells(axes, values, labels, labels, "{:.2f}", cmap=SEQUENTIAL, vmin=0, vmax=max(highest, 0.01))
    drawn.colorbar(image, ax=axes, label="Jaccard index")
    return drawn


def _matrix(pairs: pd.DataFrame, regions: list[str]) -> np.ndarray:
    """Means over seeds of pairs of regions, float64 [R, R]."""
    means = pairs.pivot_table(index="region", columns="other", values="jaccard", aggfunc="mean")
    return means.reindex(index=regions, columns=regions).to_numpy()


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    tau = _most_frequent(table)
    seeds = table["seed"].nunique()
    several = (
        f" Off the diagonal of one seed, means over {seeds} seeds; on the diagonal of different seeds, with other "
        "models and other exemplars (a random region is the same for all)."
    )
    return (
        f"Of the parameters that two trust regions of τ = {100 * tau:g} % leave out, the share that both do (Jaccard "
        f"index). Two regions that know nothing of each other have {tau / (2 - tau):.3f}.{several if seeds > 1 else ''}"
    )


def _most_frequent(table: pd.DataFrame) -> float:
    return float(table["tau"].mode().iloc[0])
