"""What a job's log says: the message that it failed with, its warnings, its progress."""

import re
from pathlib import Path

from tatr.progress import Progress, last_progress

TAIL = 4096
"""Bytes at a log's end in which its last line of progress is looked for."""

MARKED = re.compile(r"^\d\d:\d\d:\d\d (warning|error): (.*)$", re.MULTILINE)
"""A line that people must see; `tatr.workflow.step` writes them so."""


BEFORE_THE_STEP = re.compile(r"^WorkflowError.*:\n(.+)$", re.MULTILINE)
"""What Snakemake says in the log of a submitted job that it could not begin."""

LOGGED = re.compile(r"\d\d:\d\d:\d\d ")


def written(path: Path | None, since: float = 0) -> str:
    """A log's text; empty where there is none, or where it is older than `since` (seconds since 1970)."""
    try:
        if path is None or path.stat().st_mtime < since:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def progress_of(path: Path, since: float) -> Progress | None:
    """How far the job is that has been writing a log since some time; None if it does not say."""
    try:
        if path.stat().st_mtime < since:
            return None  # an earlier attempt's
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            return last_progress(file.read().decode(errors="replace"))
    except OSError:
        return None


def error_in(text: str) -> str:
    """The message of a job that failed: its own, or what a traceback ends with; empty if it says nothing."""
    own = [message for level, message in MARKED.findall(text) if level == "error"] or BEFORE_THE_STEP.findall(text)
    if own:
        return str(own[-1])
    _, traceback, after = text.rpartition("Traceback (most recent call last):")
    lines = [line for line in after.splitlines() if line.strip() and not (traceback and line.startswith(" "))]
    if traceback:
        return lines[0] if lines else ""
    return lines[-1] if lines and not LOGGED.match(lines[-1]) else ""  # of Python itself, or of the shell


def warnings_in(text: str) -> list[str]:
    """The messages of a log's warnings."""
    return [message for level, message in MARKED.findall(text) if level == "warning"]
