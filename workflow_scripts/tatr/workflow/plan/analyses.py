"""Planned: the analyses that the configuration asks for, from what each says that it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tatr.config.merges import Merge, TrustRegion
from tatr.report import analyses
from tatr.training.recipes.landscape import Landscape
from tatr.workflow.plan import measurements, merges
from tatr.workflow.plan.artefacts import Draft, Planned
from tatr.workflow.plan.ingredients import backbone

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Need:
    """Artefacts that an analysis looks at, and what it must know of each."""

    artefacts: Sequence[Planned]
    labels: Sequence[dict[str, Any]] = ()
    """One per artefact, where they are told apart by more than their task."""
    settings: Mapping[str, Any] | None = None
    """Further settings of the job."""


def planned(drafts: Sequence[Draft]) -> dict[str, list[Planned]]:
    """Per analysis that is asked for its artefacts: one per seed, one of all seeds together, or of the first one.

    Args:
        drafts: one per seed, in order.
    """
    found = {}
    for name, section in drafts[0].config.analyses_asked_for.items():
        each = [[draft] for draft in drafts]
        groups: Mapping[analyses.Seeds, Sequence[Sequence[Draft]]]
        groups = {"each": each, "together": [drafts], "first": each[:1]}
        found[name] = [
            _planned(group, name, section.model_dump(mode="json")) for group in groups[analyses.load(name).seeds]
        ]
    return found


def _planned(drafts: Sequence[Draft], name: str, settings: Settings) -> Planned:
    inputs: dict[str, list[Planned]] = {}
    job: dict[str, Any] = {"analysis": name, "settings": settings, "labels": {}}
    for need in analyses.load(name).needs:
        for of_seed in drafts:
            its = NEEDS[need](of_seed, settings)
            inputs.setdefault(need, []).extend(its.artefacts)
            job |= its.settings or {}
            if its.labels:
                labels = [label | {"seed": of_seed.config.seed} for label in its.labels]
                job["labels"].setdefault(need, []).extend(labels)
    draft = drafts[0]
    return draft.add("analysis", name, job, inputs, [f"tatr.report.analyses.{name}"])


def _task_vectors(draft: Draft, _: Settings) -> Need:
    return Need(merges.task_vectors(draft))


def _gradients(draft: Draft, _: Settings) -> Need:
    gradients = [measurements.gradient(draft, task) for task in draft.tasks]
    return Need(gradients, settings={"exemplars": draft.config.exemplars_of().count})


def _signed_gradients(draft: Draft, _: Settings) -> Need:
    count = draft.config.exemplars_of().count
    return Need([measurements.signed_gradient(draft, task, count) for task in draft.tasks])


def _layout(draft: Draft, _: Settings) -> Need:
    return Need([backbone(draft)])


def _masks(draft: Draft, _: Settings) -> Need:
    """Of all trust regions of the table's rows, each once."""
    found: dict[str, tuple[Planned, dict[str, Any]]] = {}
    for merge in draft.config.merges:
        region = merge.trust_region
        for tau in region.taus if region else ():
            assert region
            mask = merges.mask(draft, region, tau)
            found.setdefault(mask.name, (mask, _of_region(draft, region, tau)))
    return Need([mask for mask, _ in found.values()], [labels for _, labels in found.values()])


def _rows(draft: Draft, settings: Settings) -> Need:
    """The merges of the table, evaluated, by their settings; names are put in when figures are drawn. `merge` is what a
    row is called without its trust region.
    """
    labels, rows = [], draft.config.rows
    for merge in draft.config.merges:
        tau = merge.taus[0] if len(merge.taus) == 1 else None
        region = _of_region(draft, merge.trust_region, tau) if merge.trust_region else _NO_REGION
        named = {"row": rows[merge.row_name], "merge": merge.without_region.described}
        labels.append(region | named | {"but_for_region": merge.but_for_region})
    evaluations = [merges.evaluation(draft, merge) for merge in draft.config.merges]
    if "pairs" not in settings:
        return Need(evaluations, labels)
    pairs = [[rows[name] for name in pair] for pair in settings["pairs"]]
    return Need(evaluations, labels, {"settings": {**settings, "pairs": pairs}})


def _regions(draft: Draft, settings: Settings) -> Need:
    region = _region(settings)
    label = _of_region(draft, region, settings["tau"])
    return Need([merges.mask(draft, region, settings["tau"])], [label])


def _without_one(draft: Draft, settings: Settings) -> Need:
    """The merge of all tasks, and those that leave one out; each without a trust region and inside of one."""
    merge = Merge(method=settings["method"], coefficient=settings["coefficient"])
    inside, evaluations, labels = _regions(draft, settings), [], []
    for region, masks in ((_NO_REGION, []), (inside.labels[0], inside.artefacts)):
        for left_out in ("", *draft.tasks):
            evaluations.append(merges.evaluation_without(draft, merge, left_out, masks))
            labels.append({"region": region["region"], "left_out": left_out})
    return Need(evaluations, labels)


def _splits(draft: Draft, settings: Settings) -> Need:
    """Merges that leave out the tasks of a split, evaluated on these, too; each without a trust region and inside."""
    evaluations, labels = [], []
    for unseen in settings["unseen"]:
        split = draft.leaving_out(unseen)
        for region in (None, _region(settings)):
            merge = Merge(method=settings["method"], coefficient=settings["coefficient"], trust_region=region)
            evaluations.append(merges.evaluation(split, merge))
            labels.append({"split": ", ".join(unseen), "region": region.sensitivity if region else "none"})
    return Need(evaluations, labels)


def _components(draft: Draft, settings: Settings) -> Need:
    """Task Arithmetic of all entries, of those of either sign, and inside of a trust region."""
    regions = {
        "all": None,
        "negative": TrustRegion(sensitivity="negative"),
        "positive": TrustRegion(sensitivity="positive"),
        "orthogonal": _region(settings),
    }
    rows = [
        Merge(method="task_arithmetic", coefficient=settings["coefficient"], trust_region=region)
        for region in regions.values()
    ]
    return Need([merges.evaluation(draft, row) for row in rows], [{"component": name} for name in regions])


def _landscapes(draft: Draft, settings: Settings) -> Need:
    """Of tasks each, for the first share; of all tasks together for every share."""
    tasks = draft.tasks if settings["tasks"] is None else settings["tasks"]
    wanted: list[tuple[str | None, float]] = [(task, settings["taus"][0]) for task in tasks]
    wanted += [(None, tau) for tau in settings["taus"] if settings["total"]]
    shared = {key: settings[key] for key in ("coefficient", "images", "steps")} | {"seed": draft.config.seed}
    return Need(
        [measurements.landscape(draft, task, Landscape(tau=tau, **shared)) for task, tau in wanted],
        [{"landscape": task or "all", "tau": tau} for task, tau in wanted],
    )


NEEDS: Mapping[str, Callable[[Draft, Settings], Need]] = {
    "task_vectors": _task_vectors,
    "gradients": _gradients,
    "signed_gradients": _signed_gradients,
    "layout": _layout,
    "masks": _masks,
    "rows": _rows,
    "regions": _regions,
    "without_one": _without_one,
    "splits": _splits,
    "components": _components,
    "landscapes": _landscapes,
}
"""What analyses may need, by the name of the argument: how it is planned."""

_NO_REGION: dict[str, Any] = {"region": "none", "sensitivity": None, "exemplars": None, "tau": None}


def _region(settings: Settings) -> TrustRegion:
    return TrustRegion(sensitivity=settings["sensitivity"], tau=settings["tau"])


def _of_region(draft: Draft, region: TrustRegion, tau: float | None) -> dict[str, Any]:
    count = draft.config.gradient_count(region)
    shown = region.sensitivity + (f", n {count}" if count else "") + (f", τ {100 * tau:g} %" if tau is not None else "")
    return {"region": shown, "sensitivity": region.sensitivity, "exemplars": count, "tau": tau}
