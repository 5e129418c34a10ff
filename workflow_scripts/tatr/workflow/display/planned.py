"""The plan that a dry run prints: per rule how many jobs and why, and by earlier records how long and how large."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

from rich import box
from rich.table import Table

from tatr.report.plain_text import counted, duration, size
from tatr.workflow.display.estimates import Estimates, label_of
from tatr.workflow.display.run import Fields, label_told

REASONS = {
    "Forced execution": "asked for",
    "Missing output files": "missing",
    "Incomplete output files": "incomplete",
    "Updated input files": "newer inputs",
    "Input files updated by another job": "inputs made again",
    "Set of input files has changed since last execution": "other inputs",
    "Code has changed since last execution": "rule changed",
    "Params have changed since last execution": "settings changed",
}
"""What Snakemake calls the reasons, in the order of their weight; of those of a job the first one is shown."""


UNCOUNTED = "links"
"""The rule whose jobs take no time and make nothing but the way to what others made."""


@dataclass
class RulePlan:
    """The jobs of one rule that a run would do."""

    reasons: Counter[str] = field(default_factory=Counter)
    seconds: float | None = None
    """Of all jobs together; None if there is no record."""
    bytes: float | None = None


def planned(jobs: Sequence[Fields], estimates: Estimates) -> dict[str, RulePlan]:
    """The plan of the jobs that `job_info` records tell of, by rule, in their order, without targets and links."""
    plan: dict[str, RulePlan] = {}
    for told in jobs:
        if not told["output"] or told["rule_name"] == UNCOUNTED:
            continue
        rule, label = told["rule_name"], label_told(told)
        of_rule = plan.setdefault(rule, RulePlan())
        of_rule.reasons[_reason(told)] += 1
        if (seconds := estimates.seconds(rule, label)) is not None:
            of_rule.seconds = (of_rule.seconds or 0.0) + seconds
    for rule, of_rule in plan.items():
        if (each := estimates.bytes(rule)) is not None:
            of_rule.bytes = each * of_rule.reasons.total()
    return plan


def _reason(told: Fields) -> str:
    reason = next((words for start, words in REASONS.items() if start in told["reason"]), told["reason"])
    if reason != REASONS["Missing output files"]:
        return str(reason)
    folder = Path(told["output"][0]).parent
    others = folder.parent.glob(f"{escape(label_of(folder.name))}-*")
    made = any(label_of(other.name) == label_of(folder.name) and other != folder for other in others)
    return "other settings or code" if made else "not made yet"


def table(plan: Mapping[str, RulePlan]) -> Table:
    """The plan as a table for the terminal."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("rule", "jobs", "why", "time", "disk"):
        shown.add_column(heading, justify="left" if heading in ("rule", "why") else "right", no_wrap=heading != "why")
    for rule, of_rule in plan.items():
        shown.add_row(rule, f"{of_rule.reasons.total():,}", _why(of_rule), _time(of_rule), _space(of_rule))
    return shown


def summary(plan: Mapping[str, RulePlan], cores: int) -> Iterator[str]:
    """What the whole run would need, and what was not known before."""
    known = [of_rule for of_rule in plan.values() if of_rule.seconds is not None]
    seconds = sum(of_rule.seconds or 0.0 for of_rule in known)
    jobs = counted(sum(of_rule.reasons.total() for of_rule in plan.values()), "job")
    if not plan:
        yield "0 jobs: nothing is to be made."
        return
    if not known:
        is_new = all(of_rule.bytes is None for of_rule in plan.values())
        why = "Nothing like this was run here before" if is_new else "There is no record of such jobs here"
        yield f"{jobs}. {why}, so how long it takes is not known."
        return
    disk = size(sum(of_rule.bytes or 0.0 for of_rule in plan.values()))
    together = f", about {duration(seconds / cores)} on {cores} cores" if cores > 1 else ""
    yield f"{jobs}: {duration(seconds)} of work{together}; {disk} of disk. By what such jobs needed here before."
    if unknown := [rule for rule, of_rule in plan.items() if of_rule.seconds is None]:
        yield f"Not known, and not counted: {', '.join(unknown)}."


def _why(of_rule: RulePlan) -> str:
    reasons = of_rule.reasons.most_common()
    return reasons[0][0] if len(reasons) == 1 else ", ".join(f"{reason} ({count})" for reason, count in reasons)


def _time(of_rule: RulePlan) -> str:
    if of_rule.seconds is None:
        return "?"
    count = of_rule.reasons.total()
    return duration(of_rule.seconds) if count == 1 else f"{count} × {duration(of_rule.seconds / count)}"


def _space(of_rule: RulePlan) -> str:
    return "?" if of_rule.bytes is None else size(of_rule.bytes)
