"""The live lines of a run on a terminal: what runs and how far it is, how many jobs are done, the time that is left."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tatr.report.plain_text import counted, duration, shortened
from tatr.workflow.display.job_log import progress_of
from tatr.workflow.display.run import Run, RunningJob

MOST = 6
"""Running jobs that have a line of their own."""

BAR = 24
"""Characters of the bar."""

NAME = 20
"""Characters of a job's name that are shown at least."""


class RunningLines:
    """The lines, drawn anew whenever they are asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        jobs, width = self._run.jobs, options.max_width - 1
        for line in _lines(jobs[:MOST], width):
            yield Text(line, no_wrap=True, overflow="crop")
        if len(jobs) > MOST:
            yield Text(f"and {len(jobs) - MOST} more", style="dim")
        status = Table.grid(padding=(0, 1))
        status.add_row(ProgressBar(max(1, self._run.total), self._run.count, BAR), Text(self._status(), no_wrap=True))
        yield status

    def _status(self) -> str:
        run = self._run
        left, all_known = run.seconds_left()
        told = f"{run.count} of {counted(run.total, 'job')}"
        if left >= 1:
            told += f", {'about' if all_known else 'at least'} {duration(left)} left"
        return f"{told}, {len(run.failures)} failed" if run.failures else told


def live(run: Run, console: Console) -> Live:
    """The lines as something to start and to stop; they leave nothing behind."""
    return Live(RunningLines(run), console=console, transient=True, refresh_per_second=2, redirect_stdout=False)


def _lines(jobs: Sequence[RunningJob], width: int) -> list[str]:
    """A line per job, its name and how far it is; names are shortened where both don't fit."""
    names, told = [job.name for job in jobs], [_progress(job) for job in jobs]
    room = max(NAME, min(max(map(len, names)), width - 2 - max(map(len, told)))) if jobs else NAME
    return [f"{shortened(name, room):<{room}}  {text}"[:width] for name, text in zip(names, told, strict=True)]


def _progress(job: RunningJob) -> str:
    said = progress_of(job.log, job.since - 1) if job.log else None
    told, times = [], [duration(job.seconds)]
    if said:
        what = said.what if said.what not in job.name else ""
        count = f"{said.done:,}/{said.total:,}" if said.total else f"{said.done:,}"
        told = [*filter(None, (what, count, said.status))]
        if (left := said.seconds_left) is not None and left >= 1:
            times.append(f"{duration(left)} left")
    return "  ".join([*told, ", ".join(times)])
