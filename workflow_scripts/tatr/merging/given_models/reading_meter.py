"""How many bytes have been read, as a bar on the terminal: what takes the time where files are larger than memory."""

import sys
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


class ReadingMeter:
    """One bar per phase; on a terminal only."""

    def __init__(self) -> None:
        """Show nothing until a phase begins."""
        self._bar: tqdm[Any] | None = None
        self._lock = Lock()

    def phase(self, description: str, total: int | None = None) -> None:
        """Begin a new bar, of so many bytes if that is known."""
        self.close()
        if not sys.stderr.isatty():
            return

        from tqdm import tqdm

        self._bar = tqdm(desc=description, total=total, unit="B", unit_scale=True, leave=False, dynamic_ncols=True)

    def describe(self, description: str) -> None:
        """Change what stands before the bar."""
        if self._bar is not None:
            self._bar.set_description(description, refresh=False)

    def add(self, count: int) -> None:
        """So many bytes more have been read, by any thread."""
        with self._lock:
            if self._bar is not None:
                self._bar.update(count)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
