"""Mean sensitivity per layer."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from tatr.merging.layers import layer_name
from tatr.report.plots import averaged
from tatr.report.style import PAGE, figure, line


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A line per task, shallow to deep; weights and biases apart."""
    means = table.groupby(["kind", "task", "depth"], sort=False)["sensitivity"].mean().reset_index()
    drawn, panels = figure(PAGE, 2.4, columns=2, sharey=True)
    deepest = int(table["depth"].max())
    for axes, kind in zip(panels, ("weight", "bias"), strict=True):
        for index, (task, its) in enumerate(means[means["kind"] == kind].groupby("task", sort=False)):
            ordered = its.sort_values("depth")
            line(axes, ordered["depth"], ordered["sensitivity"], index, names.get(str(task), str(task)))
        axes.set_yscale("log")
        axes.set_xticks(range(deepest + 1), [layer_name(depth, deepest) for depth in range(deepest + 1)])
        axes.set_xlabel("residual block")
        axes.set_title({"weight": "weights", "bias": "biases"}[kind])
        axes.grid(axis="y")
    panels[0].set_ylabel("mean sensitivity")
    drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    return drawn


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    return (
        "Mean over each layer's parameters of G_j ⊙ Σ_{i≠j} |Δ_i|: how strongly the loss of each data set reacts to "
        f"the other tasks' updates{averaged(table)}. From what comes before the residual blocks (stem) to what "
        "comes after them (head). The scale is logarithmic. The paper's Fig. 4."
    )
