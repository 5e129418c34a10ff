"""Differences between rows of the table, with their uncertainty."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from tatr.report.analyses import Labelled, Line, Results, analysis
from tatr.report.statistics import average_difference


def _of_two_rows(pairs: Sequence[Sequence[str]]) -> None:
    for pair in pairs:
        if pair[0] == pair[1]:
            raise ValueError(f"compares '{pair[0]}' with itself")
    if not pairs:
        raise ValueError("lists nothing to compare; give [[ROW, OTHER ROW], …]")


@analysis("Differences between rows")
def contrasts(
    rows: Sequence[Labelled[Results]],
    *,
    pairs: Annotated[
        tuple[tuple[str, str], ...], "rows of the table, by name: each the first minus the second", _of_two_rows
    ],
) -> Iterator[Line]:
    """The average accuracy of one row minus that of another, paired by test image, with its bootstrap interval.

    Yields:
        `row`, `other`, `difference`, `difference_low`, `difference_high` (points of a percentage).
    """
    found: Mapping[str, Results] = {row.labels["row"]: row.content for row in rows}
    for row, other in pairs:
        value, low, high = average_difference(found[row].predictions, found[other].predictions)
        line = {"row": row, "other": other, "difference": 100 * value}
        yield line | {"difference_low": 100 * low, "difference_high": 100 * high}
