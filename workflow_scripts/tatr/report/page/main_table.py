"""The methods table as cells: what each shows, sorts by and marks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from tatr.report.table_text import formatted, marked_tasks, ranks
from tatr.report.tables import accuracies, references

WORDS = {1: "best merge", 2: "second best"}


FIRST = ("average", "average_low", "difference")
"""What is read first stands first, before the tasks."""


class Cell(NamedTuple):
    """One figure of the table."""

    text: str
    order: float | None = None
    """What it sorts by; None sorts last."""
    share: float | None = None
    """The length of its bar in percent; None has no bar."""
    rank: int = 0
    """1 for the best merge of its column, 2 for the second best."""
    certain: bool = False
    """A difference whose interval excludes zero."""

    @property
    def words(self) -> str:
        """What a screen reader says of the mark."""
        return WORDS.get(self.rank, "interval excludes zero" if self.certain else "")


class Line(NamedTuple):
    """One row of the table."""

    name: str
    reference: bool
    cells: list[Cell]


class Shown(NamedTuple):
    """A methods table, ready for the page."""

    headings: list[str]
    lines: list[Line]


def shown(table: pd.DataFrame, settings: Mapping[str, Any], skipped: Mapping[str, int]) -> Shown:
    """The table's cells.

    Args:
        table: of `tatr.report.tables.methods_table`, or the means over seeds.
        settings: of the table: `tasks`, `names`, `digits`.
        skipped: per task, how many test images could not be decoded.
    """
    names = marked_tasks([*settings["tasks"], *settings.get("unseen", ())], settings["names"], skipped)
    text = formatted(table, names, settings["digits"], {0: "{}", 1: "{}", 2: "{}"})
    ranking = ranks(table, settings["digits"])
    columns = [
        (source, str(heading), _column(column, table, ranking, source))
        for (heading, column), source in zip(text.items(), _sources(table), strict=True)
    ]
    columns.sort(key=lambda column: column[0] not in FIRST)
    lines = [
        Line(str(name), index < references(table), [cells[index] for _, _, cells in columns])
        for index, name in enumerate(text.index)
    ]
    return Shown([heading for _, heading, _ in columns], lines)


def _sources(table: pd.DataFrame) -> list[str]:
    """Which column of the table each shown one is of, as `formatted` orders them."""
    sources = [*map(str, accuracies(table).columns)]
    if table["normalised"].notna().any():
        sources.insert(sources.index("average") + 1, "normalised")
    sources += ["tau"] if table["tau"].notna().any() else []
    sources.append("coefficient")
    certainty = ("average_low", "difference", "unseen_average_low", "unseen_difference")
    return sources + [column for column in certainty if column in table and table[column].notna().any()]


def _column(text: pd.Series, table: pd.DataFrame, ranking: pd.DataFrame, source: str) -> list[Cell]:
    bars = source in ranking or source == "normalised"
    prefix = source.removesuffix("difference")
    certain = pd.Series(False, table.index)
    if source.endswith("difference"):
        certain = (table[f"{prefix}difference_low"] > 0) | (table[f"{prefix}difference_high"] < 0)
    marks = ranking[source] if source in ranking else pd.Series(0, table.index)
    cells = []
    for shown_as, value, rank, told in zip(text, table[source], marks, certain, strict=True):
        order = None if pd.isna(value) else float(value)
        cells.append(Cell(shown_as, order, order if bars else None, int(rank), bool(told)))
    return cells
