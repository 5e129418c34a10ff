"""What is computed with next is read ahead on threads, so that the device does not wait for it."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")
Tensors = tuple[Tensor, ...]

READERS = 4
"""Threads that read for a GPU, at most; each has up to two items in memory, and the device is behind by as many."""


def read_ahead(
    read: Callable[[Item], Sequence[np.ndarray | Tensor]], items: Iterable[Item], device: str = "cpu"
) -> Generator[tuple[Item, Tensors], None, None]:
    """Give every item with what is read for it, in order, as tensors on a device.

    For the CPU one thread reads one item ahead, as computing needs the cores. For a GPU several threads read a few
    items ahead into pinned memory, from where they are copied without waiting; what is read is the same.

    Args:
        read: called on the threads, several calls at a time; the same item must give the same arrays at any time.
        items: taken one by one by the caller's thread, as far ahead as is read.
        device: for torch.

    Raises:
        Exception: whatever `read` raises, when its item's turn comes. Close an iterator that is left early
            (`contextlib.closing`) before what it reads from.
    """
    pinned = device.startswith("cuda")
    threads = min(READERS, torch.get_num_threads()) if pinned else 1
    ahead = 2 * threads if pinned else 1
    copies = _Copies(device, ahead)
    source, pool = iter(items), ThreadPoolExecutor(threads, "read-ahead")
    waiting: deque[tuple[Item, Future[Tensors]]] = deque()

    def prepare(item: Item) -> Tensors:
        tensors = tuple(map(torch.as_tensor, read(item)))
        return tuple(tensor.pin_memory() for tensor in tensors) if pinned else tensors

    def submit(count: int) -> None:
        waiting.extend((item, pool.submit(prepare, item)) for item in islice(source, count))

    def following() -> tuple[Item, Tensors]:
        item, future = waiting.popleft()
        submit(1)
        tensors = future.result()
        return item, copies.start(tensors) if pinned else tuple(tensor.to(device) for tensor in tensors)

    try:
        submit(ahead)
        while waiting:
            yield following()  # not kept here: it is the caller's to free
    finally:
        pool.shutdown(cancel_futures=True)


def one_behind(results: Iterable[Result]) -> Iterator[Result]:
    """Give each result when the next one has been asked for.

    So a GPU computes the next one while a result is waited for.
    """
    held: deque[Result] = deque()
    for result in results:
        held.append(result)
        if len(held) > 1:
            yield held.popleft()
    yield from held


class _Copies:
    """Copies from pinned memory to a GPU that may be under way."""

    def __init__(self, device: str, most: int) -> None:
        """Let up to `most` copies wait for their turn on the device."""
        self._device, self._most = device, most
        self._under_way: deque[tuple[Tensors, torch.cuda.Event]] = deque()

    def start(self, tensors: Tensors) -> Tensors:
        """Order the copies; what follows on the device waits for them, the caller does not.

        Unless it is far ahead of the device: else pinned memory would fill up with what was read.
        """
        copied = tuple(tensor.to(self._device, non_blocking=True) for tensor in tensors)
        event = torch.cuda.Event()
        event.record()
        self._under_way.append((tensors, event))
        if len(self._under_way) > self._most:
            self._under_way.popleft()[1].synchronize()
        return copied
