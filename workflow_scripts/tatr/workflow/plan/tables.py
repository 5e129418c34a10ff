"""What tables, figures and the report show of a plan, and how; and which of its rows the paper has, too.

In no artefact's name, so that a new display name renews them in place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tatr.config.merges import Merge
from tatr.config.weights import Backbone
from tatr.report.page.files import templates_digest
from tatr.report.paper.matching import Match, comparison, paper_backbone, paper_row, reference_row
from tatr.workflow.plan.artefacts import Draft, Planned
from tatr.workflow.plan.ingredients import paper_name
from tatr.workflow.plan.merges import evaluation, references
from tatr.workflow.plan.published import averages, described


def paper_of(draft: Draft) -> str | None:
    """The paper's backbone, if its tables are about the very model and tasks of this configuration."""
    backbone = draft.config.backbone
    if not isinstance(backbone, Backbone):
        return None
    evaluated = (*draft.tasks, *draft.unseen)
    return paper_backbone(backbone.name, backbone.weights, (paper_name(draft, task) for task in evaluated))


def table_settings(drafts: Sequence[Draft]) -> dict[str, Any]:
    """Rows in order, columns, names and decimals of the methods table; and published rows next to ours.

    Several seeds are listed with their rows under `seeds`; `rows` are those of the first.
    """
    draft = drafts[0]
    config, paper = draft.config, paper_of(draft)
    matches = _matches(draft, paper)
    figures = averages(draft)
    rows = [
        row | ({"paper": asdict(match)} if match else {}) | ({"published": found} if found else {})
        for row, match, found in zip(_rows(draft), matches, figures, strict=True)
    ]
    settings = {"rows": rows, "tasks": config.suite, "names": config.display.tasks, "digits": config.display.digits}
    settings |= {"published": described(draft)} if any(figures) else {}
    settings |= {"unseen": config.unseen} if config.unseen else {}
    imported = [task for task in config.suite if config.checkpoints.of(task).origin != "train"]
    settings |= {"imported": imported} if imported else {}
    if len(drafts) > 1:
        settings["seeds"] = [{"seed": each.config.seed, "rows": _rows(each)} for each in drafts]
    if paper is None or not any(matches):
        return settings
    names = {task: paper_name(draft, task) or task for task in (*config.suite, *config.unseen)}
    return settings | {"paper": comparison(paper, names, [match for match in matches if match])}


def figure_settings(drafts: Sequence[Draft], analyses: Mapping[str, Sequence[Planned]]) -> dict[str, Any]:
    """How the figures are drawn, and what they say of the analyses."""
    config = drafts[0].config
    display, asked_for = config.display, config.analyses_asked_for
    seeds = [draft.config.seed for draft in drafts]
    rows = {described: name for name, described in config.rows.items() if name != described}
    return {
        **({"rows": rows} if rows else {}),
        **{"width": display.figure_width, "colour": display.colour, "names": display.tasks},
        "analyses": {name: asked_for[name].model_dump(mode="json") for name in analyses},
        # The table of all seeds together has a column of them.
        "seeds": {
            planned.name: seed for group in analyses.values() for seed, planned in zip(seeds, group, strict=False)
        },
    }


def report_settings(drafts: Sequence[Draft]) -> dict[str, Any]:
    """What the report says of the run; and the digest of its templates, which no code's digest covers."""
    config, seeds = drafts[0].config, [draft.config.seed for draft in drafts]
    written = config.model_dump(mode="json", exclude_defaults=True, exclude={"seed", "seeds", "tasks"})
    written |= {"seeds": seeds} if len(seeds) > 1 else {"seed": seeds[0]}
    tasks = {task: config.tasks[task] for task in (*config.suite, *config.unseen)}
    written["tasks"] = {task: section.model_dump(mode="json", exclude_defaults=True) for task, section in tasks.items()}
    return {
        **{"name": config.name, "backbone": drafts[0].source.label, "config": written},
        "templates": templates_digest(),
    }


def _rows(draft: Draft) -> list[dict[str, Any]]:
    """References, then merges, each with the names of its evaluations."""
    rows = [
        {"name": name, "evaluations": [e.name for e in evaluations], "reference": True}
        for name, evaluations in references(draft).items()
    ]
    # Of each merge without a trust region, the first row.
    plain = {merge.but_for_region: merge for merge in reversed(draft.config.merges) if merge.trust_region is None}
    return rows + [_row(draft, merge, plain) for merge in draft.config.merges]


def _matches(draft: Draft, paper: str | None) -> list[Match | None]:
    """The paper's row of each row, if it has one."""
    # The paper's references have no tasks apart.
    matches = [reference_row(name, paper) if paper and not draft.unseen else None for name in references(draft)]
    return matches + [_paper_row(draft, merge, paper) for merge in draft.config.merges]


def _row(draft: Draft, merge: Merge, plain: Mapping[str, Merge]) -> dict[str, Any]:
    row = {"name": merge.row_name, "evaluations": [evaluation(draft, merge).name], "reference": False}
    if merge.trust_region and (without := plain.get(merge.but_for_region)):
        row["without"] = [evaluation(draft, without).name]
    if merge.calibration and not merge.by_tensor:  # the evaluation adds what has λ in it already
        row["coefficient"] = merge.coefficients[0]
    return row | ({"unlabelled": merge.unlabelled} if merge.unlabelled else {})


def _paper_row(draft: Draft, merge: Merge, paper: str | None) -> Match | None:
    """The paper's row of a merge, if it has one."""
    if paper is None or merge.task_weights or merge.calibration or merge.by_tensor:
        return None
    settings = merge.model_dump(mode="json", include={"method", "settings", "surgery"})
    settings |= {"coefficients": merge.coefficients, "trust_region": None}
    if region := merge.trust_region:
        count = draft.config.gradient_count(region)
        settings["trust_region"] = {"sensitivity": region.sensitivity, "taus": region.taus, "exemplars": count}
    return paper_row(settings, paper, [str(paper_name(draft, task)) for task in draft.unseen])
