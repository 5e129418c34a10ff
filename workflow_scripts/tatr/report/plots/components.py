"""Accuracy of each component of the merged task vectors, per task."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tatr.report.plots import certainty, with_intervals
from tatr.report.style import PAGE, figure, look


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A group of bars per task, one per component."""
    found = with_intervals(table, ["component", "task"], "accuracy")
    tasks, components = [*dict.fromkeys(found["task"])], [*dict.fromkeys(found["component"])]
    drawn, (axes,) = figure(PAGE, 2.4)
    places, width = np.arange(len(tasks)), 0.8 / len(components)
    for index, component in enumerate(components):
        its = found[found["component"] == component].set_index("task").loc[tasks]
        at = places + (index - (len(components) - 1) / 2) * width
        axes.bar(at, its["value"], width, color=look(index).colour, label=component)
        reach = [(its["value"] - its["low"]).clip(lower=0), (its["high"] - its["value"]).clip(lower=0)]
        axes.errorbar(at, its["value"], yerr=reach, fmt="none", ecolor="0.2", elinewidth=0.7)
    axes.set_xticks(places, [names.get(task, task) for task in tasks], rotation=30, ha="right")
    axes.set_ylabel("test accuracy, %")
    axes.grid(axis="y")
    drawn.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=len(components))
    return drawn


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    return (
        f"Test accuracy when only one component of the summed task vectors is merged, λ = {settings['coefficient']} "
        f"({certainty(table)}). Negative and positive: the entries where Σ_{{i≠j}} ∇L_j ⊙ Δ_i is below or above zero. "
        f"Orthogonal: those inside of the trust region ({settings['sensitivity']}, τ = {settings['tau']}). All: Task "
        "Arithmetic. The paper's Fig. 2a."
    )
