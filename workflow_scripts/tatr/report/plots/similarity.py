"""Task vectors: angles, signs and norms."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tatr.report.plots import averaged
from tatr.report.style import PAGE, SEQUENTIAL, cells, figure, look


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Cosines and sign agreement as matrices, norms as bars."""
    means = table.groupby(["task", "other"], sort=False)[["cosine", "sign_agreement", "norm"]].mean()
    tasks = [*dict.fromkeys(table["task"])]
    shown = [names.get(task, task) for task in tasks]
    drawn, (left, middle, right) = figure(PAGE, 0.9 + 0.21 * len(tasks), columns=3)
    for axes, column, title, text in (
        (left, "cosine", "cosine", "{:.2f}"),
        (middle, "sign_agreement", "equal signs, %", "{:.0f}"),
    ):
        by_pair = means.pivot_table(index="task", columns="other", values=column).loc[tasks, tasks].to_numpy()
        values = by_pair * (100 if column == "sign_agreement" else 1)
        outside = values[~np.eye(len(tasks), dtype=bool)]
        cells(
            axes,
            values,
            shown if axes is left else [""] * len(tasks),
            shown,
            text,
            cmap=SEQUENTIAL,
            vmin=min(outside.min(), 0 if column == "cosine" else 50),
            vmax=outside.max(),
        )
        axes.set_title(title)
    norms = means["norm"].groupby("task", sort=False).first()[tasks]
    right.barh(range(len(tasks)), norms, color=look(0).colour)
    right.set_yticks(range(len(tasks)), [""] * len(tasks))
    right.invert_yaxis()
    right.set_title("norm")
    return drawn


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    norms = table.groupby("task")["norm"].mean()
    return (
        f"Task vectors of {len(norms)} tasks{averaged(table)}. Left: cosine between each two. Middle: share of the "
        "parameters that both change whose signs agree; two unrelated vectors agree on half of them. Right: Euclidean "
        f"norms, of which the largest is {norms.max() / norms.min():.1f} times the smallest."
    )
