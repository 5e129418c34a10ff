"""Planned: a row of the table, from sensitivity and mask to its evaluation and export."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tatr.config.merges import Merge, TrustRegion
from tatr.merging.calibration import alpha_of
from tatr.merging.methods import load
from tatr.workflow.plan import measurements
from tatr.workflow.plan.artefacts import Draft, Planned
from tatr.workflow.plan.ingredients import ALL_TASKS, backbone, head, images, task_vector


def sensitivity(draft: Draft, region: TrustRegion) -> Planned:
    """Ω of the suite."""
    needs, count = region.made_by.needs, draft.config.gradient_count(region)
    inputs = {"task_vectors": task_vectors(draft) if "task_vectors" in needs else []}
    settings: dict[str, Any] = {"sensitivity": region.sensitivity}
    if "gradients" in needs:  # of which one artefact has the means over several counts
        inputs["gradients"] = [measurements.gradient(draft, task) for task in draft.tasks]
        settings["exemplars"] = count
    if "signed_gradients" in needs:
        assert count
        inputs["signed_gradients"] = [measurements.signed_gradient(draft, task, count) for task in draft.tasks]
    modules = [f"tatr.merging.sensitivities.{region.sensitivity}"]
    return draft.add("sensitivity", _region_label(draft, region), settings, inputs, modules)


def mask(draft: Draft, region: TrustRegion, tau: float | None) -> Planned:
    """Where a merge may change parameters; without τ where the sensitivity decides by itself."""
    settings = {"threshold": region.made_by.threshold} if tau is None else {"tau": tau}
    return draft.add("mask", _region_label(draft, region, tau), settings, {"sensitivity": [sensitivity(draft, region)]})


def adaptation(draft: Draft, merge: Merge, tau: float | None) -> Planned:
    """Coefficients of a merge, and which singular components stay if it asks for that, learnt on unlabelled images."""
    inputs = {
        "backbone": [backbone(draft)],
        "task_vectors": task_vectors(draft),
        "mask": _masks(draft, merge, tau),
        "heads": [head(draft, task) for task in draft.tasks],
        "images": [images(draft, task) for task in draft.tasks],
    }
    label = _label(draft, merge, tau)
    if "kept" in load(merge.method).needs:
        settings = asdict(draft.config.rank_adaptation_of(merge))
        return draft.add("rank_adaptation", label, settings, inputs, _module(merge))
    return draft.add("adaptation", label, asdict(draft.config.adaptation_of(merge)), inputs, _module(merge))


def directions(draft: Draft, merge: Merge) -> list[Planned]:
    """The direction v of a merge, or λ·v calibrated: one for all its trust regions, unless it is learnt inside each."""
    distinct = {planned.name: planned for planned in (_direction(draft, merge, tau) for tau in merge.taus)}
    return [_calibrated(draft, merge, direction) if merge.calibration else direction for direction in distinct.values()]


def _calibrated(draft: Draft, merge: Merge, direction: Planned) -> Planned:
    assert merge.calibration
    alpha = alpha_of(load(merge.method), len(draft.tasks), merge.calibration.alpha)
    inputs = {"direction": [direction], "task_vectors": task_vectors(draft), "backbone": [backbone(draft)]}
    settings = {"method": merge.calibration.method, "alpha": alpha, "coefficient": merge.coefficients[0]}
    label = f"{direction.label}_lambda-{_lambda(merge)}{_calibration_label(merge)}"
    return draft.add("calibration", label, settings, inputs)


def _direction(draft: Draft, merge: Merge, tau: float | None) -> Planned:
    needs = load(merge.method).needs
    count = merge.settings.get("exemplars") or draft.config.exemplars_of().count
    inputs = {
        "task_vectors": task_vectors(draft),
        "backbone": [backbone(draft)] if "layout" in needs else [],
        "fishers": [measurements.fisher(draft, task, count) for task in draft.tasks] if "fishers" in needs else [],
        "grams": [measurements.gram(draft, task, count) for task in draft.tasks] if "grams" in needs else [],
        "merged_grams": [_merged_gram(draft, merge, count)] if "merged_grams" in needs else [],
        "coefficients": [adaptation(draft, merge, tau)] if "coefficients" in needs else [],
    }
    label = _label(draft, merge, tau) if "coefficients" in needs else _method_label(merge)
    settings: dict[str, Any] = {"method": merge.method, "settings": merge.settings}
    if weights := _weights(draft, merge):
        settings["weights"] = weights
    return draft.add("merge", label, settings, inputs, _module(merge))


def _merged_gram(draft: Draft, merge: Merge, count: int) -> Planned:
    return measurements.merged_gram(draft, count, merge.settings["off_diagonal"], tuple(_weights(draft, merge).items()))


def _weights(draft: Draft, merge: Merge) -> dict[str, float]:
    """Of those tasks that are merged: an analysis may leave some out."""
    return {task: weight for task, weight in merge.task_weights.items() if task in draft.tasks}


def surgery(draft: Draft, merge: Merge) -> Planned:
    """Modules that correct a merged model's features, trained on unlabelled images."""
    (factor,), (tau,) = merge.factors, merge.taus
    settings = asdict(draft.config.surgery_of(merge)) | {"coefficient": factor}
    inputs = {
        "backbone": [backbone(draft)],
        "direction": directions(draft, merge),
        "mask": _masks(draft, merge, tau),
        "task_vectors": task_vectors(draft),
        "images": [images(draft, task) for task in draft.tasks],
    }
    return draft.add("surgery", f"{_row_label(draft, merge, tau)}_lambda-{_lambda(merge)}", settings, inputs)


def evaluation(draft: Draft, merge: Merge) -> Planned:
    """Scores of a merge on the suite and on the unseen tasks; with surgery on the suite, whose tasks have modules."""
    tau = merge.taus[0] if len(merge.taus) == 1 else "search"
    label = f"{_row_label(draft, merge, tau)}_lambda-{_lambda(merge)}{'_surgery' if merge.surgery else ''}"
    masks = [planned for tau in merge.taus for planned in _masks(draft, merge, tau)]
    settings = {"coefficients": merge.factors} | ({"taus": merge.taus} if len(merge.taus) > 1 else {})
    modules = [surgery(draft, merge)] if merge.surgery else []
    unseen = [] if modules else draft.unseen
    return _evaluation(draft, label, settings, directions(draft, merge), draft.tasks, unseen, masks, modules)


def evaluation_without(draft: Draft, merge: Merge, left_out: str, masks: Sequence[Planned]) -> Planned:
    """Scores, on all tasks, of a merge of all of them but one (`left_out` empty leaves none out), inside of a mask."""
    merged = draft.leaving_out([left_out] if left_out else [])
    without = f"_without-{left_out}" if left_out else ""
    region = f"+{masks[0].label}" if masks else ""
    label = f"{_method_label(merge)}{without}{region}_lambda-{merge.coefficients[0]:g}"
    settings = {"coefficients": merge.coefficients}
    return _evaluation(draft, label, settings, directions(merged, merge), draft.tasks, masks=masks)


def reference(draft: Draft, task: str | None) -> Planned:
    """Scores of a task's individual model on its task, or of the pre-trained model on all (`task` None)."""
    if task is None:
        return _evaluation(draft, "pretrained", {"coefficients": [0.0]}, [], draft.tasks, draft.unseen)
    vector = [task_vector(draft, task)]
    if task == ALL_TASKS:
        return _evaluation(draft, task, {"coefficients": [1.0]}, vector, draft.tasks, draft.unseen)
    return _evaluation(draft, f"individual_{task}", {"coefficients": [1.0]}, vector, [task])


def references(draft: Draft) -> dict[str, list[Planned]]:
    """The rows that are not merges."""
    rows = {
        "Pre-trained": [reference(draft, None)],
        "Individual": [reference(draft, task) for task in draft.tasks],
    }
    return rows | ({"Traditional MTL": [reference(draft, ALL_TASKS)]} if draft.config.multitask else {})


def export(draft: Draft, merge: Merge) -> Planned:
    """A merge as a checkpoint for open_clip, made only on demand."""
    measured = evaluation(draft, merge)
    settings = merge.model_dump(mode="json", include={"method", "settings", "trust_region", "surgery"})
    settings |= _modifiers(merge, directions(draft, merge)[0])
    if region := merge.trust_region:
        settings["trust_region"] |= {"exemplars": draft.config.gradient_count(region)}
        if region.taus == [None]:
            del settings["trust_region"]["tau"]
    inputs = {
        "backbone": [backbone(draft)],
        "evaluation": [measured],
        "directions": measured.inputs["directions"],
        "masks": measured.inputs["masks"],
        "surgery": measured.inputs["surgery"],
        "heads": measured.inputs["heads"],
    }
    return draft.add("export", measured.label, settings | {"row": merge.described, "tasks": draft.tasks}, inputs)


def task_vectors(draft: Draft) -> list[Planned]:
    """Δ_k of the suite."""
    return [task_vector(draft, task) for task in draft.tasks]


def _evaluation(
    draft: Draft,
    label: str,
    settings: Mapping[str, Any],
    vectors: Sequence[Planned],
    tasks: Sequence[str],
    unseen: Sequence[str] = (),
    masks: Sequence[Planned] = (),
    modules: Sequence[Planned] = (),
) -> Planned:
    inputs = {
        "backbone": [backbone(draft)],
        "directions": vectors,
        "masks": masks,
        "surgery": modules,
        "heads": [head(draft, task) for task in (*tasks, *unseen)],
        "images": [images(draft, task) for task in (*tasks, *unseen)],
    }
    settings = {**settings, "precision": draft.config.evaluation.precision} | ({"unseen": unseen} if unseen else {})
    return draft.add("evaluation", label, settings, inputs)


def _masks(draft: Draft, merge: Merge, tau: float | None) -> list[Planned]:
    return [mask(draft, merge.trust_region, tau)] if merge.trust_region else []


def _module(merge: Merge) -> list[str]:
    return [f"tatr.merging.methods.{merge.method}"]


def _region_label(draft: Draft, region: TrustRegion, tau: float | str | None = None) -> str:
    count = draft.config.gradient_count(region)
    label = f"{region.sensitivity}_n-{count}" if count else region.sensitivity
    return label if tau is None else f"{label}_tau-{tau if isinstance(tau, str) else format(tau, 'g')}"


def _method_label(merge: Merge) -> str:
    label = merge.method + "".join(f"_{key}-{value}" for key, value in merge.changed_settings.items())
    return label + "".join(f"_{task}-{weight:g}" for task, weight in merge.task_weights.items())


def _label(draft: Draft, merge: Merge, tau: float | str | None, calibration: str = "") -> str:
    region = f"+{_region_label(draft, merge.trust_region, tau)}" if merge.trust_region else ""
    return f"{_method_label(merge)}{calibration}{region}"


def _row_label(draft: Draft, merge: Merge, tau: float | str | None) -> str:
    return _label(draft, merge, tau, _calibration_label(merge))


def _calibration_label(merge: Merge) -> str:
    if not merge.calibration:
        return ""
    alpha = merge.calibration.alpha
    return f"+{merge.calibration.method}" + ("" if alpha is None else f"_alpha-{alpha:g}")


def _lambda(merge: Merge) -> str:
    if merge.by_tensor:
        return "by-tensor"
    return "search" if len(merge.coefficients) > 1 else f"{merge.coefficients[0]:g}"


def _modifiers(merge: Merge, direction: Planned) -> dict[str, Any]:
    """What cards say of weights, calibration and λ by tensors: more than the evaluation's scores do."""
    found: dict[str, Any] = {"weights": merge.task_weights} if merge.task_weights else {}
    if merge.calibration:
        found["calibration"] = {key: direction.settings[key] for key in ("method", "alpha", "coefficient")}
    elif merge.by_tensor:
        found["coefficient"] = merge.by_tensor.settings
    return found
