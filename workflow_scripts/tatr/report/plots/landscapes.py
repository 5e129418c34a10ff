"""Loss landscapes: contours per landscape, with the components and θ_pre."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure

from tatr.report.plots import averaged
from tatr.report.style import PAGE, SEQUENTIAL, figure

Panel = tuple[tuple[Any, ...], pd.DataFrame]
"""A landscape and its τ, and its points."""

COLUMNS = 4
LEVELS = 12
CORNERS = {"Δ⊥": (0, 0), "Δ⁺": (1, 0), "Δ⁻": (0, 1)}


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Rows of panels: the tasks' own landscapes on one scale of colours, those of all tasks together on another."""
    means = table.groupby(["landscape", "tau", "point", "x", "y"], sort=False)["loss"].mean().reset_index()
    panels = [*means.groupby(["landscape", "tau"], sort=False)]
    groups = [[panel for panel in panels if (panel[0][0] == "all") == whole] for whole in (False, True)]
    heights = [-(-len(group) // COLUMNS) for group in groups]
    drawn, axes = figure(PAGE, 1.2 + sum(heights) * PAGE / COLUMNS, sum(heights), COLUMNS)
    end_of_first = heights[0] * COLUMNS
    for group, places in zip(groups, (axes[:end_of_first], axes[end_of_first:]), strict=True):
        if group:
            _group(drawn, places, group, table, names)
        for spare in places[len(group) :]:
            spare.remove()
    return drawn


def _group(drawn: Figure, axes: list[Axes], group: list[Panel], table: pd.DataFrame, names: Mapping[str, str]) -> None:
    """Panels with one scale of colours, which ends where nineteen in twenty points are below."""
    losses = pd.concat([its.loc[its["point"] == "grid", "loss"] for _, its in group])
    levels = np.linspace(losses.min(), losses.quantile(0.95), LEVELS + 1)
    for one, ((landscape, tau), its) in zip(axes, group, strict=False):
        image = _contours(one, its[its["point"] == "grid"], levels)
        at = table[(table["landscape"] == landscape) & (table["tau"] == tau) & (table["point"] == "pretrained")]
        _marked(one, float(at["x"].mean()), float(at["y"].mean()))
        shown = names.get(str(landscape), str(landscape))
        one.set_title(f"all tasks, τ {100 * float(tau):g} %" if landscape == "all" else shown)
        one.set_aspect("equal")
    label = "sum of losses, nats" if group[0][0][0] == "all" else "loss, nats"
    drawn.colorbar(image, ax=axes[: len(group)], label=label, location="bottom", aspect=50, format="%.2g")


def _contours(axes: Axes, grid: pd.DataFrame, levels: np.ndarray) -> ContourSet:
    values = grid.pivot_table(index="y", columns="x", values="loss")
    place = (values.columns.to_numpy(), values.index.to_numpy(), values.to_numpy())
    image = axes.contourf(*place, levels, cmap=SEQUENTIAL, extend="max")
    lines = axes.contour(*place, levels, colors="white", linewidths=0.4)
    axes.clabel(lines, [*lines.levels][::3], fontsize=5, fmt="%.3g")
    return image


def _marked(axes: Axes, x: float, y: float) -> None:
    for name, (right, up) in CORNERS.items():
        _mark(axes, name, right, up, "o")
    _mark(axes, "θ₀", x, y, "*")


def _mark(axes: Axes, name: str, x: float, y: float, marker: str) -> None:
    axes.plot(x, y, marker, color="white", markeredgecolor="black", markeredgewidth=0.6, markersize=6)
    axes.annotate(
        name,
        (x, y),
        (4, 4),
        textcoords="offset points",
        fontsize=6,
        bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.8},
    )


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    own = "Per data set: its loss, with the components of the other tasks' summed vectors by its own gradient. "
    whole = "All tasks: the sum of their losses, with the components of the sum of all task vectors. "
    kinds = {str(landscape) for landscape in table["landscape"]}
    taus = ", ".join(f"{100 * float(tau):g} %" for tau in dict.fromkeys(table["tau"]))
    return (
        f"Loss on the plane through θ_pre + Δ⊥ (0, 0), θ_pre + Δ⁺ (1, 0) and θ_pre + Δ⁻ (0, 1){averaged(table)}. "
        f"{own if kinds - {'all'} else ''}{whole if 'all' in kinds else ''}"
        f"λ = {settings['coefficient']}; Δ⁺ and Δ⁻ hold the share τ = {taus} of the parameters; "
        f"{settings['images']} test images at each point. The star (θ₀) is θ_pre, projected on the plane by least "
        "squares. All data sets share a scale of colours, which ends where nineteen in twenty points are "
        "below; so do those of all tasks. The paper's Fig. 2b, 2c, 5 and 6."
    )
