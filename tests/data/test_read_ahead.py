"""Reading ahead: the order, the bytes and the errors of a plain loop; so much and no more ahead; a GPU, faked."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import torch
from torch import Tensor

from tatr.data import read_ahead as module
from tatr.data.read_ahead import one_behind, read_ahead


class FakeGPU:
    """Takes the place of CUDA's pinned memory, events and copies, and notes what was asked of them."""

    def __init__(self) -> None:
        self.pinned: list[Tensor] = []
        self.pinned_by: set[str] = set()
        self.copied: list[tuple[Tensor, bool]] = []
        self.recorded = self.waited_for = 0

    def pin(self, tensor: Tensor) -> Tensor:
        self.pinned_by.add(threading.current_thread().name)
        self.pinned.append(copy := tensor.clone())
        return copy

    def copy(self, tensor: Tensor, device: str, non_blocking: bool = False) -> Tensor:
        assert device == "cuda"
        self.copied.append((tensor, non_blocking))
        return tensor.clone()

    def event(self) -> "FakeGPU":
        return self

    def record(self) -> None:
        self.recorded += 1

    def synchronize(self) -> None:
        self.waited_for += 1


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGPU:
    fake = FakeGPU()
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: fake.pin(tensor))
    monkeypatch.setattr(Tensor, "to", lambda tensor, *given, **options: fake.copy(tensor, *given, **options))
    monkeypatch.setattr(torch.cuda, "Event", fake.event)
    return fake


@pytest.fixture(params=["cpu", 1, 2, 4])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The CPU, and a faked GPU with one reader or several."""
    if request.param == "cpu":
        yield "cpu"
        return
    request.getfixturevalue("gpu")
    monkeypatch.setattr(module, "READERS", request.param)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    yield "cuda"


def read(item: int) -> tuple[np.ndarray, Tensor]:
    """Earlier items take longer."""
    time.sleep(0.002 * (item % 3 == 0))
    return np.full(4, item, np.uint8), torch.tensor([item, -item])


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_items_come_in_order_each_with_what_was_read_for_it(device: str, count: int) -> None:
    found = list(read_ahead(read, range(count), device))
    assert [item for item, _ in found] == [*range(count)]
    for item, (array, tensor) in found:
        assert array.dtype == torch.uint8
        assert array.tolist() == 4 * [item]
        assert tensor.tolist() == [item, -item]


def test_no_more_is_read_than_so_many_ahead(device: str) -> None:
    asked: list[int] = []
    taken = (asked.append(item) or item for item in range(40))  # type: ignore[func-returns-value]
    ahead = 1 if device == "cpu" else 2 * module.READERS
    with closing(read_ahead(read, taken, device)) as found:
        assert asked == []
        for count, _ in enumerate(found, 1):
            assert asked == [*range(min(40, count + ahead))]


class DamagedError(Exception):
    """What reading may raise."""


def test_an_error_is_raised_when_its_turn_comes_and_ends_it(device: str) -> None:
    asked: list[int] = []

    def fails(item: int) -> tuple[np.ndarray]:
        asked.append(item)
        if item == 5:
            raise DamagedError("shard 5")
        return (np.zeros(1),)

    seen: list[int] = []
    with pytest.raises(DamagedError, match="shard 5"):
        seen.extend(item for item, _ in read_ahead(fails, range(1000), device))
    # Items before it are the caller's whether kept or not; nothing is read far behind it.
    assert max(asked) <= 5 + 1 + 2 * module.READERS
    assert not readers()


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_leaving_early_waits_for_what_is_being_read_and_ends_the_threads(device: str) -> None:
    running: set[int] = set()

    def slow(item: int) -> tuple[np.ndarray]:
        running.add(item)
        time.sleep(0.02)
        running.discard(item)
        return (np.zeros(1),)

    with closing(read_ahead(slow, range(100), device)) as found:
        next(found)
        assert readers()
    assert running == set()
    assert readers() == []


def test_for_a_gpu_it_is_pinned_on_the_threads_and_copied_without_waiting(
    gpu: FakeGPU, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READERS", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    for count, _ in enumerate(read_ahead(read, range(20), "cuda"), 1):
        assert gpu.recorded == count
        assert gpu.waited_for == max(0, count - 4)  # at most four copies are under way
    assert all(name.startswith("read-ahead") for name in gpu.pinned_by)
    assert all(non_blocking for _, non_blocking in gpu.copied)
    pinned = {id(tensor) for tensor in gpu.pinned}
    assert [id(tensor) in pinned for tensor, _ in gpu.copied] == 40 * [True]


def test_with_one_cpu_thread_one_thread_reads_for_a_gpu(gpu: FakeGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert len(list(read_ahead(read, range(9), "cuda"))) == 9
    assert len(gpu.pinned_by) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_result_is_given_when_the_next_one_was_asked_for(count: int) -> None:
    made: list[int] = []
    results = (made.append(item) or item for item in range(count))  # type: ignore[func-returns-value]
    for index, result in enumerate(one_behind(results)):
        assert result == index
        assert len(made) == min(count, index + 2)
    assert len(made) == count
