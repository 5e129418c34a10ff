"""What tables and figures show of a plan, and how.

In no artefact's name, so that a new display name renews tables and figures in place.
"""

from dataclasses import asdict
from typing import Any

from tatr.config.merges import Merge
from tatr.report.paper.matching import Match, comparison, reference_row
from tatr.workflow.plan.plan import Plan


def table_settings(plan: Plan) -> dict[str, Any]:
    """Rows in order, columns, names and decimals of the methods table; and the paper's rows beside ours."""
    display = plan.config.display
    references = {name: reference_row(name, plan.paper) if plan.paper else None for name in plan.references}
    merges = {merge.row_name: plan.printed(merge) for merge in plan.config.merges}
    rows = [
        {"name": name, "evaluations": [e.name for e in evaluations], "reference": True} | _compared(references[name])
        for name, evaluations in plan.references.items()
    ]
    rows += [_row(plan, merge) | _compared(merges[merge.row_name]) for merge in plan.config.merges]
    settings = {"rows": rows, "tasks": plan.config.suite, "names": display.tasks, "digits": display.digits}
    if plan.paper is None:
        return settings
    names = {task: plan.paper_name(task) for task in plan.config.suite}
    matches = [match for match in (*references.values(), *merges.values()) if match]
    return settings | {"paper": comparison(plan.paper, names, matches)}


def figure_settings(plan: Plan) -> dict[str, Any]:
    """How the figure is drawn."""
    return {"width": plan.config.display.figure_width, "colour": plan.config.display.colour}


def _row(plan: Plan, merge: Merge) -> dict[str, Any]:
    row = {"name": merge.row_name, "evaluations": [plan.evaluation(merge).name], "reference": False}
    return row | ({"unlabelled": merge.unlabelled} if merge.unlabelled else {})


def _compared(match: Match | None) -> dict[str, Any]:
    return {"paper": asdict(match)} if match else {}
