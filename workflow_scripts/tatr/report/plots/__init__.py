"""Figures of analyses: a module for each, of the same name.

A module has `draw(table, names)`, which gives the figure, and `caption(table, settings)`, what it shows.
The table is that of `tatr.report.analyses`, with a column `seed`.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from tatr.report.statistics import Interval, mean_over_seeds
from tatr.report.style import style


class Plot(NamedTuple):
    """How an analysis is shown."""

    draw: Callable[[pd.DataFrame, Mapping[str, str]], Figure]
    """(table, display names of tasks) → the figure."""
    caption: Callable[[pd.DataFrame, Mapping[str, object]], str]
    """(table, settings of the analysis) → what it shows, with which settings."""


def load(name: str) -> Plot:
    """Import one analysis's figure, and no other's."""
    module = importlib.import_module(f"tatr.report.plots.{name}")
    return Plot(module.draw, module.caption)


def drawn(name: str, table: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """The figure of an analysis, in the house's style."""
    with style():
        return load(name).draw(table, names)


def renamed(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """An analysis's table with rows, and curves of them, by their own names.

    Args:
        table: in which they are called by their settings, as no artefact depends on how a row is called.
        names: of rows that have one, by what they are called there.
    """

    def curve(called: str) -> str:
        """A curve is called by the row that it starts from, and by its trust region."""
        rows = (row for row in sorted(names, key=len, reverse=True) if called.startswith(f"{row} + "))
        row = next(rows, "")
        return names.get(row, "") + called.removeprefix(row)

    found = {column: [names.get(called, called) for called in table[column]] for column in {"row", "other"} & {*table}}
    if "curve" in table:
        found["curve"] = [curve(called) for called in table["curve"]]
    return table.assign(**found)


def with_intervals(table: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """A column's mean over seeds, with its interval: Student's over seeds, or of one seed its own, if it has one.

    Args:
        table: with a line per seed and `by`.
        by: columns that tell lines apart.
        value: the column.

    Returns:
        Columns `by`, `value`, `low`, `high` (NaN where there is no interval), in the table's order.
    """
    lines, several = [], table["seed"].min() < table["seed"].max()
    for key, group in table.groupby(by, sort=False, dropna=False):
        if several:
            found = mean_over_seeds([*group[value]])
        else:
            low, high = (
                float(group[f"{value}_{end}"].iloc[0]) if f"{value}_{end}" in group else float("nan")
                for end in ("low", "high")
            )
            found = Interval(float(group[value].iloc[0]), low, high)
        lines.append({**dict(zip(by, key, strict=True)), "value": found.value, "low": found.low, "high": found.high})
    return pd.DataFrame(lines, columns=[*by, "value", "low", "high"])


def certainty(table: pd.DataFrame) -> str:
    """Which interval is drawn, in words."""
    seeds = table["seed"].nunique()
    if seeds > 1:
        return f"means over {seeds} seeds with 95 % intervals (Student's t over seeds)"
    return "one seed; 95 % intervals are over test images (bootstrap)"


def averaged(table: pd.DataFrame) -> str:
    """Over how many seeds figures are averaged, in words; nothing if there is one."""
    seeds = table["seed"].nunique()
    return f", means over {seeds} seeds" if seeds > 1 else ""
