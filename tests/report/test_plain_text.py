"""Times, sizes and names in a line of text."""

import pytest

from tatr.report.plain_text import counted, duration, shortened, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (0.42, "0.4 s"),
        (97.4, "97 s"),
        (119.6, "2 min"),
        (327, "5 min 27 s"),
        (1200, "20 min"),
        (7300, "2 h 1 min"),
        (7200, "2 h"),
    ],
)
def test_durations_are_as_exact_as_people_need(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 kB"), (1499, "1 kB"), (812_000, "812 kB"), (3_900_000_000, "3.9 GB"), (40e9, "40 GB")]
)
def test_sizes_have_two_digits(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("width", "text"), [(12, "housenumbers"), (11, "house…mbers"), (6, "hou…rs"), (5, "ho…rs"), (2, "h…"), (1, "…")]
)
def test_names_lose_their_middle(width: int, text: str) -> None:
    assert shortened("housenumbers", width) == text


def test_one_is_singular() -> None:
    assert (counted(1, "job"), counted(1200, "job")) == ("1 job", "1,200 jobs")
