"""The order of classes of which only the names are known."""

import re
from collections.abc import Iterable


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order in which a person sorts them: 2 before 10."""
    return sorted(names, key=_by_number)


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
