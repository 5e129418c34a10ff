"""The order of classes of which only the names are known."""

import re
from collections.abc import Iterable


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order in which a person sorts them: 2 before 10. It depends on the names alone, also of 01 and 1."""
    return sorted(names, key=lambda name: (_by_number(name), name))


def _by_number(name: str) -> list[tuple[int, str]]:
    # At most 18 digits at a time: Python reads no number of thousands, and a label may be any text.
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", name)]
