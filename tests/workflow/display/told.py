"""Records as Snakemake makes them, and a display that is told of them."""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from tatr.workflow.display.messages import Messages
from tatr.workflow.display.run import Run

NAME = "{label}-0123456789ab"


def record(
    event: str | None = None, message: str = "", level: int = logging.INFO, **fields: object
) -> logging.LogRecord:
    """What Snakemake hands to its handlers."""
    return logging.makeLogRecord({"event": event, "msg": message, "levelno": level, **fields})


def job(number: int, rule: str, label: str = "", *, output: bool = True, reason: str = "") -> dict[str, Any]:
    """The fields of a job that starts, or would."""
    name = NAME.format(label=label)
    return {
        "jobid": number,
        "rule_name": rule,
        "wildcards": {"name": name} if label else {},
        "log": [f"logs/{rule}/{name}.log"],
        "benchmark": f"results/benchmarks/{rule}/{name}.tsv",
        "output": [f"results/{rule}/{name}/manifest.json"] if output else [],
        "reason": reason or f"Missing output files: results/{rule}/{name}/manifest.json",
    }


@dataclass
class Told:
    """A display, in a folder of its own, and what it has written."""

    terminal: bool = False
    dry: bool = False
    quiet: bool = False
    width: int = 80
    kind: str = "xterm"
    screen: io.StringIO = field(default_factory=io.StringIO)
    own: list[str] = field(default_factory=list)
    places: Callable[[], list[str]] = lambda: ["table    results/tables/x/"]

    def __post_init__(self) -> None:
        console = Console(
            file=self.screen,
            force_terminal=self.terminal,
            width=self.width,
            soft_wrap=True,
            highlight=False,
            _environ={"TERM": self.kind},
        )
        passed = logging.NullHandler()
        passed.handle = lambda record: bool(self.own.append(record.getMessage()))  # type: ignore[method-assign]
        run = Run(frozenset({"all", "demo"}), parallel=2)
        self.display = Messages(console, passed, lambda: run, self.places, self.dry, self.quiet)

    def of(self, event: str | None = None, message: str = "", level: int = logging.INFO, **fields: object) -> "Told":
        """Tell the display of one more record."""
        self.display.emit(record(event, message, level, **fields))
        return self

    def started(self, *jobs: dict[str, Any], **planned: int) -> "Told":
        """A run begins, with jobs."""
        stats = planned | {"total": sum(planned.values())}
        self.of("workflow_started").of("run_info", stats=stats)
        for each in jobs:
            self.of("job_info", **each)
        return self

    def written(self) -> str:
        """All that the display has written, now that the run is over."""
        self.display.close()
        return self.screen.getvalue()


def write(path: str, text: str) -> None:
    """Write a file of the run."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
