"""Results in order, from several threads: bounded, with errors where they belong."""

import threading
import time
from collections.abc import Iterator

import pytest

from tatr.errors import TatrError
from tatr.vectors.threads import in_order, threads


@pytest.mark.parametrize("count", ["1", "2", "5"])
def test_results_come_in_order(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", count)

    def slow_first(item: int) -> int:
        time.sleep(0.01 if item % 5 == 0 else 0)
        return item**2

    assert [*in_order(slow_first, range(30))] == [item**2 for item in range(30)]


def test_no_more_than_a_result_per_thread_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    begun: list[int] = []
    results: Iterator[None] = in_order(begun.append, range(100))
    for taken in range(1, 20):
        next(results)
        assert len(begun) <= taken + 3


def test_an_error_surfaces_in_its_place_and_nothing_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = threading.active_count()

    def part(item: int) -> int:
        if item == 3:
            raise TatrError("damaged")
        return item

    results = in_order(part, range(1000))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(TatrError, match="damaged"):
        next(results)
    assert threading.active_count() == before


def test_whoever_reads_may_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = threading.active_count()
    results = in_order(str, range(1000))
    assert next(results) == "0"
    results.close()  # type: ignore[attr-defined]  # a generator
    assert threading.active_count() == before


@pytest.mark.parametrize(("stated", "expected"), [("3", 3), ("2,1", 2)])
def test_omp_num_threads_says_how_many(stated: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    assert threads() == expected
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= threads() <= 4


@pytest.mark.parametrize("stated", ["0", "two", "-1"])
def test_a_number_of_threads_that_is_none_is_refused(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", stated)
    with pytest.raises(TatrError, match="expected a number of threads"):
        threads()
