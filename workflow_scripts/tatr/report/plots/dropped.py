"""What trust regions leave out, per layer and kind of parameter."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from tatr.merging.layers import layer_name
from tatr.report.plots import averaged
from tatr.report.style import PAGE, SEQUENTIAL, cells, figure

MOST = 6
"""Trust regions that are drawn; the table has all."""


def draw(table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """A matrix per trust region: parts of the encoder by depth."""
    regions = _shown(table)
    deepest = int(table["depth"].max())
    table = table.assign(part=table["part"] + " " + table["kind"])
    parts = sorted(set(table["part"]))
    columns = min(2, len(regions))
    rows = -(-len(regions) // columns)
    drawn, panels = figure(PAGE, 0.5 + rows * (0.5 + 0.17 * len(parts)), rows, columns)
    for index, (axes, region) in enumerate(zip(panels, regions, strict=False)):
        shares = table[table["region"] == region].pivot_table(index="part", columns="depth", values="dropped")
        values = 100 * shares.reindex(index=parts, columns=range(deepest + 1))
        depths = [layer_name(depth, deepest) for depth in range(deepest + 1)]
        labels = parts if index % columns == 0 else [""] * len(parts)
        cells(axes, values.to_numpy(), labels, depths, "{:.1f}", cmap=SEQUENTIAL, vmin=0)
        axes.set_title(region)
    for axes in panels[len(regions) :]:
        axes.remove()
    return drawn


def _shown(table: pd.DataFrame) -> list[str]:
    """Regions of the most frequent τ, the first of each sensitivity, at most so many."""
    regions = table.drop_duplicates(["region", "tau"])
    _, found = max(regions.groupby("tau", sort=False, dropna=False), key=lambda group: len(group[1]))
    return [*found.drop_duplicates("sensitivity")["region"]][:MOST]


def caption(table: pd.DataFrame, settings: Mapping[str, object]) -> str:
    """What the figure shows."""
    shown = _shown(table)
    tau = 100 * float(table.loc[table["region"] == shown[0], "tau"].iloc[0])
    sized, chance = "", ""
    if tau == tau:  # not of a sensitivity that decides without τ
        sized, chance = (
            f" of τ = {tau:g} %",
            f" A region that knew nothing of the encoder would have {tau:g} everywhere.",
        )
    return (
        f"Share of the parameters, in %, that trust regions{sized} leave as they are, by depth (columns) and kind of "
        f"parameter (rows){averaged(table)}.{chance}"
    )
