"""Tells on the terminal what Snakemake reports, in few words; its own words are in its log."""

import logging
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from tatr.report.plain_text import counted, duration
from tatr.workflow.display import planned
from tatr.workflow.display.estimates import Estimates
from tatr.workflow.display.live import live
from tatr.workflow.display.run import Failure, Fields, Run

SNAKEMAKES_OWN = "DefaultStreamHandler"
"""The name of the handler by which Snakemake writes to the terminal."""

NOTHING_TO_DO = "Nothing to be done"
STOPPING = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
LEFT_OUT = re.compile(
    "Assuming unrestricted shared filesystem usage|Exiting because a job execution failed|Remaining jobs"
)
"""What Snakemake says without a word to people, before a run or at the end of one that failed."""

FOR_PEOPLE = re.compile(r"\A(?:WorkflowError|LockException)\b.*:$")
"""The first line of an error that people can mend. It and the last ones say where in our rules it was noticed."""

OF_A_RULE = re.compile(r"\AInputFunctionException\b.*?^  WorkflowError:$(.*)^Wildcards:$", re.MULTILINE | re.DOTALL)
"""The same, noticed when a rule's inputs were asked for."""

LOCATION = re.compile(r'^  File ".*$', re.MULTILINE)


def attach(workflow: Any, places: Callable[[], Iterable[str]]) -> None:  # noqa: ANN401
    """Take the terminal from Snakemake, in the process that people have started.

    Left as they are: jobs' own processes, another `--logger` that has the terminal, `--quiet all`, a plan without its
    jobs (`-n --quiet`), and whoever asks for Snakemake's own words by `--printshellcmds`, `--verbose` or `--debug-dag`.

    Args:
        workflow: Snakemake's.
        places: gives the lines that say where everything is, when the run is over.
    """
    settings, logger = workflow.output_settings, logging.getLogger("snakemake.logging")
    own = next((handler for handler in logger.handlers if handler.name == SNAKEMAKES_OWN), None)
    quiet = {choice.name for choice in settings.quiet or ()}
    wanted = settings.printshellcmds or settings.verbose or settings.debug_dag or (settings.dryrun and quiet)
    if workflow.exec_mode.name != "DEFAULT" or not isinstance(own, logging.StreamHandler) or wanted or "ALL" in quiet:
        return
    console = Console(file=own.stream, no_color=True if settings.nocolor else None, highlight=False, soft_wrap=True)

    def begin() -> Run:
        resources, targets = workflow.resource_settings, (rule.name for rule in workflow.rules if not rule.output)
        return Run(frozenset(targets), parallel=int(resources.nodes or resources.cores or 1))

    logger.removeHandler(own)
    logger.addHandler(Messages(console, own, begin, places, settings.dryrun, bool(quiet & {"PROGRESS", "RULES"})))


class Messages(logging.Handler):
    """Snakemake's handler for the terminal, in its place.

    Records of a run become lines of our own. What other commands say (`--list-target-rules`, `--report`) passes on
    to Snakemake's own handler.
    """

    def __init__(
        self,
        console: Console,
        own: logging.Handler,
        begin: Callable[[], Run],
        places: Callable[[], Iterable[str]],
        dry: bool,
        quiet: bool,
    ) -> None:
        super().__init__()
        self._console, self._own, self._begin, self._places = console, own, begin, places
        self._dry, self._quiet = dry, quiet
        self._has_live_lines = console.is_terminal and not console.is_dumb_terminal
        self._run: Run | None = None
        self._live: Live | None = None
        self._plan: list[Fields] = []
        self._warned: set[str] = set()
        self._stopped = False

    def emit(self, record: logging.LogRecord) -> None:
        """Tell what a record says, if people should know."""
        try:
            told, event = record.__dict__, str(getattr(record, "event", None) or "")
            if event == "workflow_started":
                self._run = self._begin()
            elif event == "error":
                self._error(record.getMessage())
            elif self._run is None:
                if not LEFT_OUT.match(record.getMessage()):
                    self._own.handle(record)
            elif tell := getattr(self, f"_on_{event}", None):
                tell(self._run, told)
            elif not event:
                self._other(self._run, record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """The run is over: say how it ended, and where everything is."""
        if self._run and not self._dry:
            self._pause()
            self._end(self._run)
        self._run = None
        super().close()

    # --- records of a run -------------------------------------------------------------------------------------------

    def _on_run_info(self, run: Run, told: Fields) -> None:
        if self._dry and self._plan:  # Snakemake counts the jobs before it lists them, and after
            self._print_plan(run)
        run.planned.update({rule: count for rule, count in told["stats"].items() if rule != "total"})

    def _on_job_info(self, run: Run, told: Fields) -> None:
        if self._dry:
            self._plan.append(told)
        elif run.start(told).is_target:
            self._pause()  # it may write to the terminal itself
        else:
            self._resume(run)

    def _on_job_finished(self, run: Run, told: Fields) -> None:
        job, seconds, warnings = run.finish(told["job_id"])
        for warning in warnings:
            self._warn(warning)
        if not job.is_target and not self._quiet:
            if not self._has_live_lines:
                self._say(f"{job.name}: {duration(seconds)}")
            elif run.is_complete(job.rule):
                self._say(_of_rule(job.rule, run.done[job.rule]))
        self._resume(run)

    def _on_job_error(self, run: Run, told: Fields) -> None:
        if not self._stopped:
            self._say(f"[red]{escape(run.fail(told).name)}: failed[/]")

    def _on_group_error(self, run: Run, told: Fields) -> None:
        for of_job in told["job_error_info"]:
            self._on_job_error(run, of_job)

    def _other(self, run: Run, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith(NOTHING_TO_DO):
            self._console.print(message, markup=False)
            self._print_places()
        elif message.startswith(STOPPING):
            self._stopped = True
            self._say("stopping …")
        elif record.levelno >= logging.WARNING and not LEFT_OUT.match(message):
            self._warn(message)

    # --- what is written --------------------------------------------------------------------------------------------

    def _error(self, message: str) -> None:
        if self._run:
            self._run.note_status(message)
            if (
                message.startswith(("RuleException", "CalledProcessError"))
                or "did not complete successfully" in message
            ):
                return  # the job's own message is told instead
        self._pause()
        self._console.print(f"[red]error:[/] {escape(_for_people(message))}")

    def _warn(self, message: str) -> None:
        if message not in self._warned:  # many jobs may say the same
            self._warned.add(message)
            self._say(f"[yellow]warning:[/] {escape(message)}")

    def _say(self, markup: str) -> None:
        self._console.print(markup)

    def _print_plan(self, run: Run) -> None:
        plan = planned.planned(self._plan, Estimates())
        self._plan = []
        if plan:
            self._console.print(planned.table(plan), soft_wrap=False)
        for line in planned.summary(plan, run.parallel):
            self._console.print(line)
        self._console.print("Nothing was run (-n). All jobs one by one: add -p.")

    def _print_places(self) -> None:
        for line in self._places():
            self._console.print(f"  {line}", markup=False, soft_wrap=not self._console.is_terminal)

    def _end(self, run: Run) -> None:
        if not run.planned:
            return
        counts = f"{run.count} of {counted(run.total, 'job')}"
        if run.failures:
            self._say(
                f"\n[red]error: {counted(len(run.failures), 'job')} failed.[/] Done, and done for good: {counts}."
            )
            for failure in run.failures.values():
                self._say(_of_failure(failure))
        elif self._stopped or run.count < run.total:
            self._say(f"Stopped. Done, and done for good: {counts}.")
        else:
            self._say(f"{counted(run.total, 'job')} done in {duration(time.time() - run.began)}.")
            self._print_places()

    def _resume(self, run: Run) -> None:
        jobs = run.jobs
        if self._quiet or not self._has_live_lines or not jobs or any(job.is_target for job in jobs):
            return
        if self._live is None:
            self._live = live(run, self._console)
            self._live.start()
            self._console.show_cursor()  # a run that is killed would leave a terminal without one

    def _pause(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None


def _of_rule(rule: str, seconds: list[float]) -> str:
    """All jobs of a rule are done: how many, and their mean time."""
    each = f"{duration(sum(seconds) / len(seconds))}"
    return f"{rule:<16} {counted(len(seconds), 'job'):>9}  {each}{' each' if len(seconds) > 1 else ''}"


def _of_failure(failure: Failure) -> str:
    return f"{escape(failure.name)}: {escape(failure.message)}" + (
        f"\n  {escape(str(failure.log))}" if failure.log else ""
    )


def _for_people(message: str) -> str:
    """Of an error that people can mend, what it says; all of any other."""
    if of_a_rule := OF_A_RULE.match(message):
        return of_a_rule[1].strip()
    first, _, rest = message.partition("\n")
    return LOCATION.sub("", rest).strip() if FOR_PEOPLE.match(first) else message
