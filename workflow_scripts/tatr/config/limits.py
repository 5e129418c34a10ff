"""What no configuration may be, whatever it says: endless, or too large to check and to plan in seconds."""

from math import prod
from typing import Any

from tatr.config.written import DEEPEST
from tatr.errors import TatrError

MOST_VALUES = 1_000_000
"""Values of a configuration, with its anchors filled in: many times those of all data sets that come with the project.
"""

MOST_ROWS = 10_000
"""Rows of a table: ten times what is still planned in seconds."""


def check_size(raw: Any) -> None:  # noqa: ANN401
    """Count the values of a configuration; of what several aliases stand for, once for each.

    Raises:
        TatrError: there are too many, or they are nested too deeply.
    """
    if (values := _measure(raw, {}, 0)[0]) > MOST_VALUES:
        raise TatrError(
            f"the configuration has {values:,} values with its anchors filled in; expected {MOST_VALUES:,} at most"
        )


def check_rows(merges: Any) -> None:  # noqa: ANN401
    """Count the rows of all sweeps before they are expanded.

    Raises:
        TatrError: there are too many.
    """
    for index, entry in enumerate(merges if isinstance(merges, list) else []):
        if (rows := _rows(entry)) > MOST_ROWS:
            raise TatrError(
                f"merges[{index}]: its lists make {rows:,} rows; expected {MOST_ROWS:,} at most: shorten the lists, or "
                "write apart those values that belong together"
            )
    if merges and isinstance(merges, list) and (rows := sum(map(_rows, merges))) > MOST_ROWS:
        raise TatrError(f"merges: {rows:,} rows; expected {MOST_ROWS:,} at most: write several configurations")


def _measure(node: Any, known: dict[int, tuple[int, int]], depth: int) -> tuple[int, int]:  # noqa: ANN401
    """How many values there are, and on how many levels. An alias is the object that it stands for, measured once."""
    if not isinstance(node, list | dict):
        return 1, 0
    if depth > DEEPEST or (id(node) in known and depth + known[id(node)][1] > DEEPEST):
        raise TatrError(
            f"the configuration is nested more than {DEEPEST} levels deep, which none needs; is an alias (*NAME) "
            "inside of its own anchor (&NAME)?"
        )
    if id(node) not in known:
        items = node.values() if isinstance(node, dict) else node
        inner = [_measure(item, known, depth + 1) for item in items]
        levels = 1 + max((levels for _, levels in inner), default=0)
        known[id(node)] = 1 + sum(values for values, _ in inner), levels
    return known[id(node)]


def _rows(entry: Any) -> int:  # noqa: ANN401
    """As many as `expand` makes."""
    if isinstance(entry, list):
        return sum(map(_rows, entry))
    if isinstance(entry, dict):
        return prod(_rows(value) for key, value in entry.items() if key != "search")
    return 1
