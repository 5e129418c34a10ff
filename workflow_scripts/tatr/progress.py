"""Progress of long steps: a bar on the terminal for one job at a time, and a line per tenth in the job's log."""

import fcntl
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import cache
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
logger = logging.getLogger("tatr")


def progress(
    items: Iterable[T], description: str, total: int | None = None, status: Callable[[], str] = str
) -> Iterator[T]:
    """Yield `items`, showing how far we are and what `status` says (a loss, say)."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    step, start = max(1, (total or 1000) // 10), time.monotonic()
    bar = tqdm(items, description, total, leave=False, disable=not _owns_terminal(), dynamic_ncols=True)
    for count, item in enumerate(bar, 1):
        yield item
        if count % step == 0:
            bar.set_postfix_str(status())
            elapsed = time.monotonic() - start
            logger.info("%s: %d/%s after %.0f s %s", description, count, total or "?", elapsed, status())


@cache
def _owns_terminal() -> bool:
    # Jobs run side by side on one terminal; the first to lock it draws, and the kernel frees the lock when it ends.
    if not sys.stderr.isatty():
        return False
    try:
        fcntl.flock(os.open(os.ttyname(sys.stderr.fileno()), os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
