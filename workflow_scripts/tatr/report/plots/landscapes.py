"""Loss landscapes: contours per landscape, with the components and θ_pre."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tatr.report.plots import averaged
from tatr.report.style import PAGE, SEQUENTIAL, figure

COLUMNS = 4
LEVELS = 12
CORNERS = {"Δ⊥": (0, 0), "Δ⁺": (1, 0), "Δ⁻": (0, 1)}


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A panel per landscape, each with levels of its own, as sums over tasks and single tasks differ in scale."""
    means = table.groupby(["landscape", "tau", "point", "x", "y"], sort=False)["loss"].mean().reset_index()
    panels = [*means.groupby(["landscape", "tau"], sort=False)]
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    width = PAGE if columns > 1 else PAGE / 2
    drawn, axes = figure(width, 0.4 + rows * (width / columns), rows, columns, sharex=True, sharey=True)
    for one, ((landscape, tau), its) in zip(axes, panels, strict=False):
        _contours(one, its[its["point"] == "grid"])
        at = table[(table["landscape"] == landscape) & (table["tau"] == tau) & (table["point"] == "pretrained")]
        _marked(one, float(at["x"].mean()), float(at["y"].mean()))
        several = len({other for (name, other), _ in panels if name == landscape}) > 1
        shown = "all tasks" if landscape == "all" else names.get(str(landscape), str(landscape))
        one.set_title(f"{shown}, τ {100 * float(tau):g} %" if several else shown)
        one.set_aspect("equal")
    for spare in axes[len(panels) :]:
        spare.remove()
    return drawn


def _contours(axes: Axes, grid: pd.DataFrame) -> None:
    values = grid.pivot_table(index="y", columns="x", values="loss")
    place = (values.columns.to_numpy(), values.index.to_numpy(), values.to_numpy())
    axes.contourf(*place, LEVELS, cmap=SEQUENTIAL)
    lines = axes.contour(*place, LEVELS, colors="white", linewidths=0.4)
    axes.clabel(lines, [*lines.levels][::3], fontsize=5, fmt="%.3g")


def _marked(axes: Axes, x: float, y: float) -> None:
    for name, (right, up) in CORNERS.items():
        _mark(axes, name, right, up, "o")
    _mark(axes, "θ_pre", x, y, "*")


def _mark(axes: Axes, name: str, x: float, y: float, marker: str) -> None:
    axes.plot(x, y, marker, color="white", markeredgecolor="black", markeredgewidth=0.6, markersize=6)
    axes.annotate(
        name.replace("_pre", "₀"),
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
        f"{settings['images']} test images per task at most. The star (θ₀) is θ_pre, projected on the plane by least "
        "squares. Each panel has contours of its own scale. The paper's Fig. 2b, 2c, 5 and 6."
    )
