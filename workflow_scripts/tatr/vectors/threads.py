"""Work on several threads whose results come in order: what makes block arithmetic use all cores of a job.

NumPy, Zarr and file reads release Python's lock, so threads suffice. Which thread computes what never matters for a
result.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tatr.errors import TatrError

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 4
"""Threads where nothing says how many: more of them wait for memory and disk, and each holds blocks of its own."""


def threads() -> int:
    """How many threads arithmetic uses: what OMP_NUM_THREADS says (jobs set it), else a few of the free cores.

    Raises:
        TatrError: the variable is no number.
    """
    stated = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # OpenMP has a list, for nested parts
    if stated and not (stated.isdecimal() and int(stated)):
        raise TatrError(f"OMP_NUM_THREADS = '{stated}': expected a number of threads from 1 up; unset it to use a few")
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(stated) if stated else min(MOST, free)


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
