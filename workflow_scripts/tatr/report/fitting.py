"""A table that fits the width of a terminal: headings and names are shortened, and columns are dropped last."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tatr.report.plain_text import shortened

HEADING = 5
"""Characters that are left of a heading at least."""

NAME = 16
"""Characters that are left of a name at least; more, where names would read the same otherwise."""

ABBREVIATED = {" on validation": " val."}
"""What names say in fewer words where a table is narrow."""


@dataclass(frozen=True)
class Fitted:
    """How a table reads in some width."""

    names: list[str]
    headings: dict[int, str]
    """Of the columns that are left, by their place in the whole table."""


def fitted(
    names: Sequence[str], columns: Sequence[tuple[str, int]], width: int, gap: int, kept: Collection[int]
) -> Fitted:
    """Fit a table into a width.

    Args:
        names: of the rows, the first column.
        columns: of each further column its heading and the width of its cells.
        width: of the terminal, in characters.
        gap: characters between two columns.
        kept: places of columns that are never dropped, and whose headings stay whole.
    """
    whole = dict(enumerate(heading for heading, _ in columns))
    cells = {place: of_column for place, (_, of_column) in enumerate(columns)}

    def left_for_names(headings: Mapping[int, str]) -> int:
        return width - sum(gap + max(len(heading), cells[place]) for place, heading in headings.items())

    if max(map(len, names)) <= left_for_names(whole):
        return Fitted([*names], whole)
    short = {place: shortened(heading, max(HEADING, cells[place])) for place, heading in whole.items()}
    headings = short | {place: whole[place] for place in kept}
    if max(map(len, names)) <= left_for_names(headings):
        return Fitted([*names], headings)
    for old, new in ABBREVIATED.items():
        names = [name.replace(old, new) for name in names]
    least = _least(names)
    for place in sorted(headings.keys() - {*kept}, reverse=True):
        if least <= left_for_names(headings):
            break
        del headings[place]
    return Fitted(_cut(names, max(least, left_for_names(headings))), headings)


def _least(names: Sequence[str]) -> int:
    """The smallest width in which no two names read the same."""
    longest = max(map(len, names))
    return next((width for width in range(min(NAME, longest), longest) if _are_distinct(names, width)), longest)


def _are_distinct(names: Sequence[str], width: int) -> bool:
    return len({*_cut(names, width)}) == len({*names})


def _cut(names: Sequence[str], width: int) -> list[str]:
    """Names of at most `width` characters, cut in the middle, or nearer to an end where only that tells them apart."""
    places = sorted(range(2, width - 2), key=lambda place: abs(place - width // 2))
    tries = ([_without_middle(name, width, place) for name in names] for place in places)
    symmetric = [shortened(name, width) for name in names]
    return next((cut for cut in (symmetric, *tries) if len({*cut}) == len({*names})), symmetric)


def _without_middle(name: str, width: int, place: int) -> str:
    return name if len(name) <= width else f"{name[:place]}…{name[len(name) - (width - place - 1) :]}"
