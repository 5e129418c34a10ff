"""One parameter after another on the job's threads, as methods on matrices work."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from tatr.vectors.apply import Direction, parts_of
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.threads import in_order
from tatr.vectors.vector import recut, regrouped

ROOM = 2**28
"""Bytes that all parameters in work may take together. A single one may take more."""

Item = TypeVar("Item")


def each_parameter(
    function: Callable[[Parameter], np.ndarray], layout: Layout, bytes_of: Callable[[Parameter], float]
) -> Iterator[np.ndarray]:
    """Blocks of the direction that is function(parameter) at every parameter.

    Each is computed by one thread of the linear algebra library: several of these on one matrix gain less than several
    matrices at once, and might round otherwise. So no result depends on the number of threads.

    Args:
        function: float32 entries of v at a parameter, of any shape.
        layout: of v.
        bytes_of: the most that `function` holds at once; as few run together as have room for it.
    """
    return _computed(function, layout.parameters, bytes_of, layout)


def each_part(
    function: Callable[[Parameter, np.ndarray], np.ndarray],
    direction: Direction,
    layout: Layout,
    bytes_of: Callable[[Parameter], float],
) -> Iterator[np.ndarray]:
    """Blocks of the direction that is function(parameter, v) at every parameter, of another direction v of either kind.

    Args:
        function: float32 entries at a parameter, of any shape, of those of v there, float32 [size].
        direction: v; one that comes in blocks is read once, and a parameter per thread is in memory.
        layout: of both.
        bytes_of: as in `each_parameter`.
    """
    parts = regrouped(parts_of(direction), (parameter.size for parameter in layout.parameters))
    pairs = zip(layout.parameters, parts, strict=True)
    return _computed(lambda pair: function(*pair), pairs, lambda pair: bytes_of(pair[0]), layout)


def _computed(
    function: Callable[[Item], np.ndarray], items: Iterable[Item], bytes_of: Callable[[Item], float], layout: Layout
) -> Iterator[np.ndarray]:
    room = _Room(ROOM)

    def within_room(item: Item) -> np.ndarray:
        with room.taken(bytes_of(item)):
            return function(item)

    return one_blas_thread(recut(in_order(within_room, items), layout.size))


def one_blas_thread(parts: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same parts, computed while the linear algebra library keeps to the thread that calls it."""
    with threadpool_limits(1, user_api="blas"):
        yield from parts


class _Room:
    def __init__(self, free: float) -> None:
        self._size = self._free = free
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, size: float) -> Iterator[None]:
        """Wait until there is room of this size, or until nobody else has any."""
        with self._changed:
            self._changed.wait_for(lambda: size <= self._free or self._free == self._size)
            self._free -= size
        try:
            yield
        finally:
            with self._changed:
                self._free += size
                self._changed.notify_all()
