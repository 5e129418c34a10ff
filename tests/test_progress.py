"""Progress of long steps: what the log says, and what is read from it."""

import logging

import pytest

from tatr import progress as module
from tatr.progress import Progress, last_progress, progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that pass from one look at the clock to the next; the last ones for ever."""
    steps, now = [0.0], [0.0]

    def monotonic() -> float:
        now[0] += steps[0]
        return now[0]

    monkeypatch.setattr(module.time, "monotonic", monotonic)
    return steps


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_line_every_two_seconds_and_at_the_end(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tatr")
    clock[0] = 0.5
    assert [*progress(range(10), "letters", status=lambda: "loss 0.5")] == [*range(10)]
    assert [line.split(" after")[0] for line in lines(caplog)] == ["letters: 4/10", "letters: 8/10", "letters: 10/10"]


def test_a_long_step_says_something_every_hundredth_of_its_time(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tatr")
    clock[0] = 1.0
    for _ in progress(range(100_000), "letters"):
        pass
    assert 100 < len(caplog.records) < 1000


def test_what_is_said_last_is_read_back(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tatr")
    clock[0] = 1.0
    for _ in progress(iter(range(6)), "cars train: gradients", status=lambda: "loss 0.25"):
        pass
    text = "\n".join(f"12:00:0{at} {line}" for at, line in enumerate(lines(caplog)))
    assert last_progress(f"{text}\n12:00:09 wrote results") == Progress(
        "cars train: gradients", 6, None, 6, "loss 0.25"
    )
    assert last_progress("12:00:00 reading\n") is None


def test_the_time_that_is_left_is_at_the_same_speed() -> None:
    said = last_progress("12:00:01 letters: 130/300 after 13 s loss 0.3412")
    assert said is not None
    assert said.seconds_left == 17
    assert Progress("draw", 3, None, 5, "").seconds_left is None
    assert Progress("letters", 1, 300, 5, "").seconds_left is None, "the first steps are slow"
