"""Rows of the table that differ in one setting of their trust region only: curves."""

from collections.abc import Iterator, Sequence
from typing import Any

from tatr.report.analyses import Labelled, Line, Results
from tatr.report.statistics import average_accuracy

SETTINGS = ("but_for_region", "sensitivity", "exemplars", "tau")
"""Labels of a row that tell which curve it is on."""


def curves(rows: Sequence[Labelled[Results]], varied: str) -> Iterator[list[Labelled[Results]]]:
    """Groups of two or more rows that differ in one setting only, each sorted by it.

    Args:
        rows: of the table.
        varied: `exemplars` or `tau`; rows that lack it, or choose τ on validation, are on no curve.
    """
    groups: dict[tuple[Any, ...], list[Labelled[Results]]] = {}
    for row in rows:
        if None not in (row.labels[varied], row.labels["tau"]):
            common = tuple(row.labels[setting] for setting in SETTINGS if setting != varied)
            groups.setdefault(common, []).append(row)
    return (sorted(group, key=lambda row: row.labels[varied]) for group in groups.values() if len(group) > 1)


def point(row: Labelled[Results]) -> Line:
    """A row's average accuracy and its interval, in percent."""
    value, low, high = average_accuracy(row.content.predictions)
    return {"row": row.labels["row"], "accuracy": 100 * value, "accuracy_low": 100 * low, "accuracy_high": 100 * high}


def beside(rows: Sequence[Labelled[Results]], one: Labelled[Results], **labels: Any) -> list[Labelled[Results]]:  # noqa: ANN401
    """The row that differs from one in its trust region only, and has these labels; none if there is no such row."""
    wanted = labels | {"but_for_region": one.labels["but_for_region"]}
    return [row for row in rows if all(row.labels[name] == label for name, label in wanted.items())][:1]
