"""What others publish of a configuration's backbone and tasks: sets of individual models, and averages of methods."""

from dataclasses import asdict
from typing import Any

from tatr.config.merges import Merge
from tatr.config.suites import SUITES
from tatr.config.weights import Backbone
from tatr.report.paper.matching import openai_backbone
from tatr.report.published.averages import INDIVIDUAL, published
from tatr.report.published.sets import LEAKED, individual_models, task_of_sets
from tatr.workflow.plan.artefacts import Draft
from tatr.workflow.plan.ingredients import paper_name
from tatr.workflow.plan.merges import references

REFERENCE = {"method": INDIVIDUAL, "settings": {}, "coefficients": [], "calibration": ""}
"""What averages of the individual models are looked up by."""


def sets(draft: Draft) -> list[dict[str, Any]]:
    """What individual models of each published set reach on the tasks that are merged, as
    `tatr.measuring.checkpoint_sets.likened` takes it; empty for a backbone of which there is no set.
    """
    backbone = _backbone(draft)
    called = {task: _called(draft, task) for task in draft.tasks}
    found = []
    for name, accuracies in individual_models(backbone).items() if backbone else ():
        leaked = [task for task in called if called[task] in LEAKED.get(name, ())]
        if its := {task: accuracies[theirs] for task, theirs in called.items() if theirs in accuracies}:
            found.append({"set": name, "accuracies": its, "leaked": leaked})
    return found


def averages(draft: Draft) -> list[list[dict[str, Any]]]:
    """Per row of the table, references first, the published averages of it; see `tatr.report.published.averages`."""
    wanted = [REFERENCE if name == "Individual" else None for name in references(draft)]
    wanted += [_looked_up(merge) for merge in draft.config.merges]
    about = described(draft)
    if about is None:
        return [[] for _ in wanted]
    count = len(draft.tasks)
    found = (published(row, about["backbone"], count) if row else [] for row in wanted)
    return [[*map(asdict, each)] for each in found]


def described(draft: Draft) -> dict[str, str] | None:
    """The `backbone` and the `suite` of which there may be published averages; None if there are none of them.

    The suite must be exactly what is merged, and no other task may be evaluated.
    """
    tasks = sorted(_called(draft, task) for task in draft.tasks)
    suite = next((name for name, its in SUITES.items() if tasks == sorted(its) and not draft.unseen), None)
    backbone = _backbone(draft)
    return {"backbone": backbone, "suite": suite} if backbone and suite else None


def _looked_up(merge: Merge) -> dict[str, Any] | None:
    """What averages of a merge are looked up by; None if none of it can be published."""
    calibration = merge.calibration
    if merge.trust_region or merge.task_weights or merge.by_tensor or merge.surgery:
        return None
    if calibration and calibration.alpha is not None:
        return None  # those of SVC are of its default
    settings = {"method": merge.method, "settings": merge.settings, "coefficients": merge.coefficients}
    return settings | {"calibration": calibration.method if calibration else ""}


def _backbone(draft: Draft) -> str | None:
    backbone = draft.config.backbone
    return openai_backbone(backbone.name, backbone.weights) if isinstance(backbone, Backbone) else None


def _called(draft: Draft, task: str) -> str:
    """What the sets call a task."""
    return task_of_sets(task, paper_name(draft, task))
