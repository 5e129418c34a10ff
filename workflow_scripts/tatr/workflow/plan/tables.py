"""What tables and figures show of a plan, and how; and which of its rows the paper has, too.

In no artefact's name, so that a new display name renews tables and figures in place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tatr.config.merges import Merge
from tatr.config.weights import Backbone
from tatr.report.paper.matching import Match, comparison, paper_backbone, paper_row, reference_row
from tatr.workflow.plan.artefacts import Draft, Planned
from tatr.workflow.plan.ingredients import paper_name
from tatr.workflow.plan.merges import evaluation


def paper_of(draft: Draft) -> str | None:
    """The paper's backbone, if its tables are about the very model and tasks of this configuration."""
    backbone = draft.config.backbone
    if not isinstance(backbone, Backbone):
        return None
    evaluated = (*draft.tasks, *draft.unseen)
    return paper_backbone(backbone.name, backbone.weights, (paper_name(draft, task) for task in evaluated))


def table_settings(draft: Draft, references: dict[str, list[Planned]]) -> dict[str, Any]:
    """Rows in order, columns, names and decimals of the methods table; and the paper's rows next to ours."""
    config, paper = draft.config, paper_of(draft)
    rows, matches = [], []
    for name, evaluations in references.items():
        # The paper's references have no tasks apart.
        match = reference_row(name, paper) if paper and not draft.unseen else None
        rows.append({"name": name, "evaluations": [e.name for e in evaluations], "reference": True} | _paper(match))
        matches.append(match)
    for merge in config.merges:
        match = _paper_row(draft, merge, paper)
        rows.append(_row(draft, merge) | _paper(match))
        matches.append(match)
    settings = {"rows": rows, "tasks": config.suite, "names": config.display.tasks, "digits": config.display.digits}
    settings |= {"unseen": config.unseen} if config.unseen else {}
    if paper is None or not any(matches):
        return settings
    names = {task: paper_name(draft, task) or task for task in (*config.suite, *config.unseen)}
    return settings | {"paper": comparison(paper, names, [match for match in matches if match])}


def figure_settings(draft: Draft, analyses: Mapping[str, Sequence[Planned]]) -> dict[str, Any]:
    """How the figures are drawn, and what they say of the analyses."""
    display, asked_for = draft.config.display, draft.config.analyses_asked_for
    return {
        **{"width": display.figure_width, "colour": display.colour, "names": display.tasks},
        "analyses": {name: asked_for[name].model_dump(mode="json") for name in analyses},
        "seeds": {planned.name: draft.config.seed for group in analyses.values() for planned in group},
    }


def _row(draft: Draft, merge: Merge) -> dict[str, Any]:
    row = {"name": merge.row_name, "evaluations": [evaluation(draft, merge).name], "reference": False}
    without = next((other for other in draft.config.merges if other.lacks_only_the_region_of(merge)), None)
    if without:
        row["without"] = [evaluation(draft, without).name]
    return row | ({"unlabelled": merge.unlabelled} if merge.unlabelled else {})


def _paper_row(draft: Draft, merge: Merge, paper: str | None) -> Match | None:
    """The paper's row of a merge, if it has one."""
    if paper is None:
        return None
    settings = merge.model_dump(mode="json", include={"method", "settings", "surgery"})
    settings |= {"coefficients": merge.coefficients, "trust_region": None}
    if region := merge.trust_region:
        count = draft.config.gradient_count(region)
        settings["trust_region"] = {"sensitivity": region.sensitivity, "taus": region.taus, "exemplars": count}
    return paper_row(settings, paper, [str(paper_name(draft, task)) for task in draft.unseen])


def _paper(match: Match | None) -> dict[str, Any]:
    return {"paper": asdict(match)} if match else {}
