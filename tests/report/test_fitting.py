"""A table in a narrow terminal: headings first, then names, columns last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatr.report.fitting import Fitted, fitted

NAMES = ["Pre-trained", "Task Arithmetic, λ on validation"]
NAMES += [f"Task Arithmetic + TATR, τ {tau} %, λ on validation" for tau in (1, 2, 10, 20)]
TASKS = ("scenes", "cars", "aerial", "landuse", "housenumbers", "signs", "digits", "textures")
COLUMNS = [*((task, 5) for task in TASKS), ("average", 5), ("λ", 3), ("95 %", 9), ("over none", 17)]
AVERAGE = 8


def width(fit: Fitted) -> int:
    return max(map(len, fit.names)) + sum(1 + max(len(fit.headings[at]), COLUMNS[at][1]) for at in fit.headings)


def test_a_wide_terminal_shows_everything_as_it_is() -> None:
    fit = fitted(NAMES, COLUMNS, 200, 2, [AVERAGE])
    assert fit == Fitted(NAMES, dict(enumerate(heading for heading, _ in COLUMNS)))


def test_first_headings_lose_their_middle_and_names_stay() -> None:
    fit = fitted(NAMES, COLUMNS, 145, 1, [AVERAGE])
    assert fit.names == NAMES
    assert fit.headings[4] == "ho…rs"
    assert fit.headings[AVERAGE] == "average"
    assert len(fit.headings) == len(COLUMNS)


def test_then_names_do_and_stay_distinct() -> None:
    fit = fitted(NAMES, COLUMNS, 125, 1, [AVERAGE])
    assert len(fit.headings) == len(COLUMNS)
    assert len(set(fit.names)) == len(NAMES)
    assert fit.names[2] != NAMES[2]
    assert fit.names[0] == "Pre-trained"


def test_columns_are_dropped_last_from_the_right() -> None:
    fit = fitted(NAMES, COLUMNS, 80, 1, [AVERAGE])
    assert [*fit.headings] == [*range(AVERAGE + 2)], "the intervals are dropped"
    assert width(fit) <= 80
    assert len(set(fit.names)) == len(NAMES)


@pytest.mark.parametrize("room", [5, 24, 40])
def test_the_average_stays_in_any_width(room: int) -> None:
    assert fitted(NAMES, COLUMNS, room, 1, [AVERAGE]).headings[AVERAGE] == "average"


@given(st.lists(st.text("ab λ", min_size=1, max_size=30), min_size=1, max_size=6, unique=True), st.integers(30, 200))
def test_what_fits_is_never_wider_and_names_are_never_mixed_up(names: list[str], room: int) -> None:
    fit = fitted(names, COLUMNS, room, 1, [AVERAGE])
    assert len(set(fit.names)) == len(names)
    if [*fit.headings] != [AVERAGE]:
        assert width(fit) <= room
