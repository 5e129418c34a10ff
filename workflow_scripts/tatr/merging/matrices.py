"""One parameter after another on the job's threads, as methods on matrices work."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits

from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.threads import in_order
from tatr.vectors.vector import recut

ROOM = 2**28
"""Bytes that all parameters in work may take together. A single one may take more."""


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
    room = _Room(ROOM)

    def within_room(parameter: Parameter) -> np.ndarray:
        with room.taken(bytes_of(parameter)):
            return function(parameter)

    return one_blas_thread(recut(in_order(within_room, layout.parameters), layout.size))


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
