"""Rows of the table that differ in one setting of their trust region only: curves."""

from collections.abc import Iterator, Sequence
from typing import Any

from tatr.report.analyses import Labelled, Line, Results
from tatr.report.statistics import average_accuracy

SETTINGS = ("merge", "sensitivity", "exemplars", "tau")
"""Labels of a row that tell which curve it is on."""


def curves(rows: Sequence[Labelled[Results]], varied: str) -> Iterator[tuple[tuple[Any, ...], list[Labelled[Results]]]]:
    """Groups of two or more rows that differ in one setting only, each sorted by it; and what they have in common.

    Args:
        rows: of the table.
        varied: `exemplars` or `tau`; rows that lack it, or choose τ on validation, are on no curve.
    """
    groups: dict[tuple[Any, ...], list[Labelled[Results]]] = {}
    for row in rows:
        if None not in (row.labels[varied], row.labels["tau"]):
            groups.setdefault(common(row, varied), []).append(row)
    for key, group in groups.items():
        if len(group) > 1:
            yield key, sorted(group, key=lambda row: row.labels[varied])


def common(row: Labelled[Results], varied: str) -> tuple[Any, ...]:
    """A row's settings but one."""
    return tuple(row.labels[setting] for setting in SETTINGS if setting != varied)


def point(row: Labelled[Results]) -> Line:
    """A row's average accuracy and its interval, in percent."""
    value, low, high = average_accuracy(row.content.predictions)
    return {"row": row.labels["row"], "accuracy": 100 * value, "accuracy_low": 100 * low, "accuracy_high": 100 * high}


def without_region(rows: Sequence[Labelled[Results]], merge: str) -> Iterator[Labelled[Results]]:
    """The rows of a merge that have no trust region."""
    return (row for row in rows if row.labels["merge"] == merge and row.labels["sensitivity"] is None)
