"""Progress of long steps: a bar on the terminal, and lines in the job's log, which the run's display reads."""

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import NamedTuple, TypeVar

from tqdm import tqdm

T = TypeVar("T")
logger = logging.getLogger("tatr")

INTERVAL = 2.0
"""Seconds from one line to the next at least; of long steps a hundredth of the time that they have taken, so that a day
makes hundreds of lines and not thousands."""

LINE = re.compile(r"^(?:\d\d:\d\d:\d\d )?(.*): (\d+)/(\d+|\?) after (\d+) s(?: (.*))?$", re.MULTILINE)
"""A line of progress in a log."""


class Progress(NamedTuple):
    """How far a step was when it last said so."""

    what: str
    done: int
    total: int | None
    """None if it can't be known."""
    seconds: int
    """Taken so far."""
    status: str
    """A loss, say."""

    @property
    def seconds_left(self) -> float | None:
        """At the same speed; None if the total is not known, or too little is done to tell."""
        if not self.total or 50 * self.done < self.total:
            return None
        return self.seconds * (self.total - self.done) / self.done


def progress(
    items: Iterable[T], description: str, total: int | None = None, status: Callable[[], str] = str
) -> Iterator[T]:
    """Yield `items`, saying how far we are and what `status` says (a loss, say)."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    start = said = time.monotonic()
    bar = tqdm(items, description, total, leave=False, disable=not sys.stderr.isatty(), dynamic_ncols=True)
    for count, item in enumerate(bar, 1):
        yield item
        now = time.monotonic()
        if now - said >= max(INTERVAL, (now - start) / 100) or count == total:
            said = now
            bar.set_postfix_str(status())
            logger.info("%s: %d/%s after %.0f s %s", description, count, total or "?", now - start, status())


def last_progress(text: str) -> Progress | None:
    """What a log says last of its step's progress; None if it says nothing."""
    lines = LINE.findall(text)
    if not lines:
        return None
    what, done, total, seconds, status = lines[-1]
    return Progress(what, int(done), None if total == "?" else int(total), int(seconds), status)
