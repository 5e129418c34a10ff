"""Runs a command as a fresh process and watches it: seconds and peak memory, for whoever is compared in the same way.

A part of the other benchmarks, which import it. Needs Linux's /proc for memory.
"""

import compileall
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent / "workflow_scripts"

LOOK = 0.05
"""Seconds between two looks at a process: a look takes a millisecond, of a core that the process may need."""


@dataclass(frozen=True)
class Run:
    """What was seen of a process."""

    seconds: float
    peak: float
    """The most memory that it and its children held together, pages of files that they mapped among it, in MiB."""
    own: float
    """The same without pages of files."""
    output: str
    """What it printed, errors too."""
    failure: str = ""
    """Why there is no result; empty if it ended well."""


def measure(
    line: Sequence[str | Path],
    *,
    memory_limit: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a command to its end, or until it holds more memory than it may.

    Args:
        line: the command and its arguments.
        memory_limit: GiB of its own (pages of files can be dropped), above which it is killed; None for no limit.
        environment: variables that it gets in addition to this process's.
    """
    _compile_ahead()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in line],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(environment or {})},
            start_new_session=True,
        )
        peak = own = 0.0
        killed = False
        descriptor, ended = os.pidfd_open(process.pid), select.poll()
        ended.register(descriptor, select.POLLIN)
        try:
            while process.poll() is None:
                now, now_own = _held(process.pid)
                peak, own = max(peak, now), max(own, now_own)
                if memory_limit and now_own > 1024 * memory_limit and not killed:
                    os.killpg(process.pid, signal.SIGKILL)  # its own session: its children, too, and no one else
                    killed = True
                ended.poll(1000 * LOOK)  # which returns when the process ends, not up to a look later
            seconds = time.perf_counter() - start
        finally:
            os.close(descriptor)
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        text = output.read()
    failure = f"out of memory (> {memory_limit:g} GiB)" if killed else _failure(process.returncode, text)
    return Run(seconds, peak, own, text, failure)


@cache
def _compile_ahead() -> None:
    """Compile our code, as its first use does on whoever's machine: no run is to pay for it."""
    compileall.compile_dir(SCRIPTS, quiet=2)


def measure_or_stop(line: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Run:
    """The same for a command that must not fail: the benchmark ends with what it printed."""
    run = measure(line, environment=environment)
    if run.failure:
        raise SystemExit(f"{' '.join(map(str, line))}: {run.failure}\n{run.output}")
    return run


def in_turn(contenders: Mapping[str, Callable[[], Run]], runs: int) -> dict[str, Run]:
    """Run contenders one after the other, several times over, and take each one's run of median seconds.

    In turn, so that a slow minute of the machine slows all of them, and each once nothing is left to write of what ran
    before. One that fails is not run again. Memory is the most that any run held.
    """
    done: dict[str, list[Run]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, start in contenders.items():
            if not any(run.failure for run in done[name]):
                os.sync()
                done[name].append(start())
    return {name: _middle(found) for name, found in done.items()}


@contextmanager
def scratch_folder(parent: Path | None, needed: float) -> Iterator[Path]:
    """A folder to write into, removed at the end; ends the benchmark if the disk has fewer than `needed` bytes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # so that it is removed then, too
    if parent:
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=parent) as name:
        free = os.statvfs(name).f_bavail * os.statvfs(name).f_frsize
        if free < needed:
            raise SystemExit(f"{name}: takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} are free; give another --work")
        yield Path(name)


def _middle(runs: list[Run]) -> Run:
    if runs[-1].failure:
        return runs[-1]
    middle = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    seconds = statistics.median(run.seconds for run in runs)
    return Run(seconds, max(run.peak for run in runs), max(run.own for run in runs), middle.output)


def _failure(code: int, text: str) -> str:
    if code == 0:
        return ""
    if "MemoryError" in text or "can't allocate memory" in text or code == -signal.SIGKILL:
        return "out of memory"
    if missing := re.search(r"No module named '?([\w.]+)", text):
        return f"not installed ({missing[1]})"
    last = (text.strip().splitlines() or ["nothing printed"])[-1]
    return f"exit code {code}: {last}"


def _held(root: int) -> tuple[float, float]:
    """MiB that a process and its descendants hold: in all, and without pages of files."""
    found, waiting, peak = [0.0, 0.0], [root], 0.0
    while waiting:
        pid = waiting.pop()
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
            for tasks in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (tasks / "children").read_text(encoding="utf-8").split())
        except OSError:  # it has just ended
            continue
        sizes = {key: int(size) / 1024 for key, size in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE)}
        found[0] += sizes.get("VmRSS", 0)
        found[1] += sizes.get("RssAnon", 0) + sizes.get("RssShmem", 0)
        peak = max(peak, sizes.get("VmHWM", 0))  # the kernel has seen what lay between two looks
    return max(found[0], peak), found[1]
