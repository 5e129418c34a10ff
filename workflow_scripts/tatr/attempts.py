"""Attempts at making a folder: each builds in one of its own, and a rename is all that others see of it.

    NAME.partial-HOST-SPACE-PID-START     what an attempt is building
    NAME.saved-HOST-SPACE-PID-START       the state from which a killed attempt is continued

So attempts may overlap (a step that outlived the workflow that started it, two workflows in one folder), and none sees
half of what another makes. What dead attempts left is recognised by their process, and removed or taken over.

All that is assumed of a file system, also of one on a network, is that renaming within a folder is atomic.
"""

import errno
import logging
import os
import re
import shutil
import socket
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType

BEAT = 10.0
"""Seconds between two signs of life of an attempt."""

SILENCE = 90.0
"""Seconds without a sign after which another host's attempt is dead; a network may show signs 60 s late."""

_OWNER = r"(?P<owner>(?P<host>.+)-\d+-(?P<pid>\d+)-\d+)"
_NAME = re.compile(rf"(?P<target>.+)\.(?:partial|saved)-{_OWNER}(?:\..+)?")
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)

logger = logging.getLogger("tatr")


@dataclass(frozen=True)
class Remnant:
    """A file or folder of an attempt, told by its name."""

    path: Path
    target: Path
    """What the attempt was to make."""
    owner: str
    """Host, process namespace, process and its start."""
    process: str
    """For people."""
    is_state: bool
    """Whether an attempt can go on from it."""

    @classmethod
    def of(cls, path: Path) -> "Remnant | None":
        """None if the path is of no attempt."""
        if not (name := _NAME.fullmatch(path.name)):
            return None
        process = f"process {name['pid']} on {name['host']}"
        is_state = path.name == f"{name['target']}.saved-{name['owner']}"
        return cls(path, path.with_name(name["target"]), name["owner"], process, is_state)

    def is_alive(self) -> bool:
        """Whether the attempt is going on. Of another host's this takes `SILENCE` seconds to say."""
        if self.owner.startswith(_space() + "-"):
            pid, start = map(int, self.owner.removeprefix(_space() + "-").split("-"))
            return _started(pid) == start
        built = self.target.with_name(f"{self.target.name}.partial-{self.owner}")
        if not (seen := _time(built)):
            return False  # an attempt has its folder from beginning to end
        logger.info("%s: waiting %.0f s to see whether %s still works on it", self.path, SILENCE, self.process)
        time.sleep(SILENCE)
        return _time(built) not in (None, seen)


class Attempt:
    """One process's attempt at making a folder; to be used in a `with` statement."""

    def __init__(self, target: Path) -> None:
        """Nothing is done yet."""
        self.target = target
        self.folder = target.with_name(f"{target.name}.partial-{_owner()}")
        """Where to build: an empty folder, which is removed at the end unless it was published."""
        self.saved = target.with_name(f"{target.name}.saved-{_owner()}")
        """Where to keep a file or folder from which a later attempt can go on; what a dead one kept is here already."""
        self._over = threading.Event()

    def __enter__(self) -> "Attempt":
        self.target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)  # of an attempt of this very process
        self._inherit()
        self.folder.mkdir()
        threading.Thread(target=self._live, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        shutil.rmtree(self.folder, ignore_errors=True)
        if kind is None:
            remove(self.saved)

    def publish(self) -> bool:
        """Give the folder its name; False if something has it already."""
        try:
            self.folder.rename(self.target)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            return False
        return True

    def set_aside(self) -> Path:
        """Take the name from what has it: its new path, inside the attempt's folder's own name, for a moment."""
        aside = self.folder.with_name(f"{self.folder.name}.replaced")
        remove(aside)
        self.target.rename(aside)
        return aside

    def _inherit(self) -> None:
        """Take over what dead attempts saved last, and remove all else that they left."""
        dead = [remnant for remnant in remnants(self.target) if not self._goes_on(remnant)]
        states = [remnant.path for remnant in dead if remnant.is_state]
        for path in sorted(states, key=lambda path: _time(path) or 0, reverse=True):
            try:
                if not self.saved.exists():
                    path.rename(self.saved)
            except FileNotFoundError:
                continue  # another attempt was faster
        for remnant in dead:
            remove(remnant.path)

    def _goes_on(self, remnant: Remnant) -> bool:
        if remnant.owner == _owner():
            return remnant.path == self.saved
        if alive := remnant.is_alive():
            logger.warning(
                "%s: %s is making it, too; whoever comes second discards its own", self.target, remnant.process
            )
        return alive

    def _live(self) -> None:
        while not self._over.wait(BEAT):
            try:
                os.utime(self.folder)
            except FileNotFoundError:
                return  # it has been published


def remnants(target: Path) -> list[Remnant]:
    """All that attempts at making a folder have left, or are working on."""
    if not target.parent.is_dir():
        return []
    found = [Remnant.of(path) for path in target.parent.iterdir() if path.name.startswith(target.name + ".")]
    return sorted((r for r in found if r and r.target == target), key=lambda remnant: remnant.path)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@cache
def _space() -> str:
    """Name of the host and of the namespace in which its process numbers hold (containers have their own)."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}-{namespace.stat().st_ino if namespace.exists() else 0}"


def _owner() -> str:
    return f"{_space()}-{os.getpid()}-{_started(os.getpid())}"


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since the machine did; None if it has ended. 0 where this isn't known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self").exists() or not _exists(pid) else 0
    return None if fields[0] in "ZX" else int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _time(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
