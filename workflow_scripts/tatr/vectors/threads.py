"""Work on several threads whose results come in order: what makes block arithmetic use all cores of a job.

NumPy, Zarr and file reads release Python's lock, so threads suffice. Which thread computes what never matters for a
result.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 4
"""Threads unless a job says otherwise: more of them wait for memory and disk, and each holds blocks of its own."""

_chosen: int | None = None


def set_threads(count: int) -> None:
    """How many threads this process may use for arithmetic (a job's `--threads`)."""
    global _chosen  # noqa: PLW0603  # as OMP_NUM_THREADS is: of the process
    _chosen = max(1, count)


def threads() -> int:
    """How many threads this process uses for arithmetic: what `set_threads` said, else a few of the free cores."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return _chosen or min(MOST, free or 1)


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """function(item) of each item, in order, computed on the process's threads.

    At most one result per thread waits to be taken, so memory is bounded however many items there are. An error of
    `function` surfaces where its result would have come.
    """
    count = threads()
    if count == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="tatr") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # whoever reads may stop early
            for future in waiting:
                future.cancel()
