"""A run as Snakemake reports it: which jobs are planned, which run, what they took, which failed."""

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tatr.workflow.display.estimates import Estimates, label_of, seconds_in
from tatr.workflow.display.job_log import error_in, progress_of, warnings_in, written

Fields = dict[str, Any]
"""Of a record of Snakemake's."""

STATUS = re.compile(r"non-zero exit status (\d+)|died with <Signals\.SIG(\w+)")
KILLED = {"137", "KILL"}


def label_told(told: Fields) -> str:
    """The label of the artefact that a job of a `job_info` record makes, or what else its rule's one wildcard says."""
    return label_of(next(iter((told["wildcards"] or {}).values()), ""))


@dataclass(frozen=True)
class RunningJob:
    """A job that was started, or submitted."""

    rule: str
    label: str
    """Of the artefact that it makes; empty where a rule makes only one."""
    log: Path | None
    benchmark: Path | None
    is_target: bool
    """Whether it makes no file: what it does is for people, say to print a table."""
    since: float = field(default_factory=time.time)
    """Seconds since 1970."""

    @classmethod
    def of(cls, told: Fields) -> "RunningJob":
        """The job of a `job_info` record."""
        log = Path(told["log"][0]) if told["log"] else None
        benchmark = Path(told["benchmark"]) if told["benchmark"] else None
        return cls(told["rule_name"], label_told(told), log, benchmark, not told["output"])

    @property
    def name(self) -> str:
        """The rule and the label."""
        return f"{self.rule} {self.label}".strip()

    @property
    def seconds(self) -> float:
        """Since it was started."""
        return time.time() - self.since

    def took(self) -> float:
        """The seconds that it took, now that it has ended: as measured, without the time that it waited for a node."""
        if self.benchmark and self.benchmark.exists() and self.benchmark.stat().st_mtime >= self.since - 1:
            return seconds_in(self.benchmark) or self.seconds
        return self.seconds

    def seconds_left(self, estimated: float | None) -> float | None:
        """By what it says itself, or by what such jobs took before."""
        said = progress_of(self.log, self.since - 1) if self.log else None
        if said and said.seconds_left is not None:
            return said.seconds_left
        return None if estimated is None else max(0.0, estimated - self.seconds)


@dataclass(frozen=True)
class Failure:
    """A job that failed: what it says of it, and where more stands."""

    name: str
    message: str
    log: Path | None


@dataclass
class Run:
    """A run's jobs, as far as they are known.

    The live lines are drawn by a thread of their own while jobs start and end, so what they look at is copied first.
    """

    targets: frozenset[str] = frozenset()
    """Rules that make no file: they are no jobs that people would count."""
    estimates: Estimates = field(default_factory=Estimates)
    planned: Counter[str] = field(default_factory=Counter)
    """Jobs by rule, targets included."""
    started: dict[int, RunningJob] = field(default_factory=dict)
    """By Snakemake's number."""
    running: set[int] = field(default_factory=set)
    done: dict[str, list[float]] = field(default_factory=dict)
    """Per rule, the seconds of the jobs that have ended well."""
    failures: dict[int, Failure] = field(default_factory=dict)
    parallel: int = 1
    """How many jobs run at a time at most."""
    began: float = field(default_factory=time.time)
    _status: str = ""

    @property
    def total(self) -> int:
        """All jobs of the run, without targets."""
        return sum(count for rule, count in self.planned.items() if rule not in self.targets)

    @property
    def count(self) -> int:
        """Jobs that have ended well, without targets."""
        return sum(len(seconds) for rule, seconds in list(self.done.items()) if rule not in self.targets)

    @property
    def jobs(self) -> list[RunningJob]:
        """Those that run now, the oldest first."""
        return [job for number, job in list(self.started.items()) if number in self.running]

    def start(self, told: Fields) -> RunningJob:
        """A job was started (`job_info`)."""
        job = RunningJob.of(told)
        self.started.pop(told["jobid"], None)
        self.started[told["jobid"]] = job
        self.running.add(told["jobid"])
        return job

    def finish(self, number: int) -> tuple[RunningJob, float, list[str]]:
        """A job has ended well (`job_finished`): the job, the seconds that it took, and its warnings."""
        job = self.started[number]
        self.running.discard(number)
        self.failures.pop(number, None)  # it was tried again
        seconds = job.took()
        self.done.setdefault(job.rule, []).append(seconds)
        self.estimates.add(job.rule, job.label, seconds)
        return job, seconds, warnings_in(written(job.log, job.since - 1))

    def note_status(self, text: str) -> None:
        """Snakemake says how a shell command ended; which job's it was, it says later."""
        if found := STATUS.search(text):
            self._status = found[1] or found[2]

    def fail(self, told: Fields) -> Failure:
        """A job has failed (`job_error`)."""
        number, logs = told["jobid"], [Path(str(path)) for path in told["log"]]
        self.running.discard(number)
        job = self.started.get(number)
        since = job.since - 1 if job else 0
        said = ((error_in(written(path, since)), path) for path in logs)
        message, log = next((found for found in said if found[0]), ("", logs[0] if logs else None))
        failure = Failure(
            job.name if job else told["rule_name"], message or str(told.get("rule_msg") or "") or self._unsaid(), log
        )
        self.failures[number] = failure
        return failure

    def is_complete(self, rule: str) -> bool:
        """Whether all jobs of a rule are done."""
        return len(self.done.get(rule, ())) == self.planned[rule]

    def seconds_left(self) -> tuple[float, bool]:
        """An estimate of the time that is left, and whether all jobs that remain have a part in it."""
        of_running = [job.seconds_left(self.estimates.seconds(job.rule, job.label)) for job in self.jobs]
        remaining = self.planned - Counter({rule: len(seconds) for rule, seconds in list(self.done.items())})
        remaining -= Counter(job.rule for job in self.jobs)
        of_others = [
            None if (each := self.estimates.seconds(rule)) is None else each * count
            for rule, count in remaining.items()
            if rule not in self.targets
        ]
        known = [seconds for seconds in (*of_running, *of_others) if seconds is not None]
        longest = max((seconds for seconds in of_running if seconds is not None), default=0.0)
        return max(longest, sum(known) / self.parallel), len(known) == len(of_running) + len(of_others)

    def _unsaid(self) -> str:
        if self._status in KILLED:
            return "was killed before it could say why; most often because memory ran out"
        return f"ended with status {self._status or 'unknown'} and no message"
