"""What tables and figures show of a plan, and how.

In no artefact's name, so that a new display name renews tables and figures in place.
"""

from typing import Any

from tatr.config.merges import Merge
from tatr.plan import Plan


def table_settings(plan: Plan) -> dict[str, Any]:
    """Rows in order, columns, names and decimals of the methods table."""
    display = plan.config.display
    references = [
        {"name": name, "evaluations": [evaluation.name for evaluation in evaluations], "reference": True}
        for name, evaluations in plan.references.items()
    ]
    return {
        "rows": references + [_row(plan, merge) for merge in plan.config.merges],
        "tasks": plan.config.suite,
        "names": display.tasks,
        "digits": display.digits,
    }


def figure_settings(plan: Plan) -> dict[str, Any]:
    """How the figure is drawn."""
    return {"width": plan.config.display.figure_width, "colour": plan.config.display.colour}


def _row(plan: Plan, merge: Merge) -> dict[str, Any]:
    row = {"name": merge.row_name, "evaluations": [plan.evaluation(merge).name], "reference": False}
    return row | ({"unlabelled": merge.unlabelled} if merge.unlabelled else {})
