"""Merging state dicts in memory: the library's front door, for any architecture and without the pipeline."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.merging import sensitivities
from tatr.merging.addend import addend
from tatr.merging.coefficients import coefficient_of
from tatr.merging.given_models.mergeable_tensors import if_not_finite, sort_tensors
from tatr.merging.given_models.state_tensors import StateDict, StateTensors, by_name, state_dict
from tatr.merging.mask import end_of_region, mask, tau_of
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.merging.sensitivities import Sensitivity
from tatr.merging.task_vector import task_vector
from tatr.merging.task_weights import task_weights_of
from tatr.vectors.apply import Direction, applied
from tatr.vectors.gathered import Gathered
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector, remembered

Model = Any
"""A state dict, or a torch module."""


def merge(
    pretrained: Model,
    finetuned: Mapping[str, Model] | Sequence[Model],
    *,
    method: str = "task_arithmetic",
    coefficient: float | Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
    calibration: str | None = None,
    tau: float | None = None,
    gradients: Mapping[str, StateDict] | Sequence[StateDict] | None = None,
    sensitivity: str | None = None,
    signed_gradients: Mapping[str, StateDict] | Sequence[StateDict] | None = None,
    ignore: str | Sequence[str] = (),
    **settings: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Merge fine-tuned models into one: θ_pre + λ·v, with v restricted to a trust region if one is asked for.

    Args:
        pretrained: θ_pre, a state dict (torch tensors or NumPy arrays by name) or a torch module.
        finetuned: per task, θ_k likewise, with the same names and shapes; tasks of a list are called model1, model2 …
        method: how they are merged, with its `settings` (docs/merging/methods.md): task_arithmetic(), weight_average(),
            magmax(), model_stock(), pcb(ratio=0.05, clamp=0.01), ties(density=0.2, combine="sum", scope="model"),
            dare(drop=0.9, rescale=True, seed=0), della(drop=0.3, window=0.14, elect=True, seed=0),
            breadcrumbs(smallest=0.89, largest=0.01), consensus(information=0.4, agreeing=2),
            localize_and_stitch(density=0.05), lines(alpha=None, beta=0.5, outside="nearest"),
            iso_c(attention="stacked"), iso_cts(common_space_fraction=0.8, attention="stacked"), tsv_m(rank_share=None,
            attention="stacked"), wudi(solver="filter", steps=300, elsewhere="pretrained", attention="stacked"),
            cart(scale=2.0, rank_share=0.12, attention="stacked"), dc_merge(density=0.001, attention="stacked"),
            ace(ridge=0.01, heterogeneity=0.3, rank_share=0.3, attention="stacked"). The pipeline alone has those that
            need images: fisher, regmean, regmean_plusplus, lot, cat, esm, ada_merging, ada_rank.
        coefficient: λ, or λ by patterns of names ({"*.ln_*": 0, "*": 0.2}: the first that matches counts); the method's
            usual one for None, and for tensors that no pattern matches.
        weights: by task, of those that count more or less than 1; methods that add up or average take them.
        calibration: "svc" calibrates the singular values of λ·v (docs/merging/calibration.md).
        tau: share of the parameters, the most sensitive ones, that stay as they are; `positive`, `negative` take none.
        gradients: per task, the mean absolute per-exemplar gradient at θ_pre (`tatr.mean_absolute_gradient`).
        sensitivity: how Ω is made: gradient, zero_shot, ntk, positive, negative, random, magnitude, slope; None takes
            `gradient` where gradients are given, else `zero_shot`, which uses |Δ_k| instead (Eq. 7).
        signed_gradients: per task, the mean gradient at θ_pre with its signs, for `positive` and `negative`.
        ignore: a pattern (`head.*`), or several, of tensors that stay as they are in θ_pre.
        settings: of the method.

    Returns:
        The merged state dict, with the types, dtypes, devices and order of θ_pre. Tensors of integers (counters, say),
        and those that only θ_pre has, are θ_pre's.

    Raises:
        TatrError: names or shapes differ, tensors can't be merged or are not finite, or an argument is out of range.
    """
    base = _tensors(pretrained, "pretrained")
    models = {name: _tensors(model, f"finetuned '{name}'") for name, model in by_name(finetuned, "finetuned").items()}
    measured = {"gradients": gradients, "signed_gradients": signed_gradients}
    chosen = coefficient_of(coefficient, load(method).coefficient)
    of_tasks = task_weights_of(weights, models)

    def merged_direction(vectors: Sequence[Vector], layout: Layout) -> tuple[Direction, float]:
        return addend(method, MergeInputs(vectors, layout, weights=of_tasks), settings, chosen, calibration)

    merged = _merged(base, models, ignore, merged_direction, sensitivity, tau, measured)
    return {name: _like(tensor, merged[name]) if name in merged else tensor for name, tensor in base.state.items()}


def _ignoring(name: str) -> str:
    return f"ignore=[{name!r}]"


def _tensors(model: Model, where: str) -> StateTensors:
    return StateTensors("state dict", state_dict(model, where))


def _merged(
    base: StateTensors,
    models: Mapping[str, StateTensors],
    ignore: str | Sequence[str],
    merged_direction: Callable[[Sequence[Vector], Layout], tuple[Direction, float]],
    sensitivity: str | None,
    tau: float | None,
    measured: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """The tensors that are merged, in float32.

    Arguments as in `merge`; of task vectors `merged_direction` gives what is added with which factor, and `measured`
    holds both kinds of gradients.
    """
    names, _ = sort_tensors(base, models, ignore, _ignoring)
    layout = Layout.of({name: base.entries[name].shape for name in names})
    origin = remembered(_flat(layout, base.state, "pretrained"))
    vectors = [task_vector(_flat(layout, model.state, name), origin) for name, model in models.items()]
    usual = "zero_shot" if measured["gradients"] is None else "gradient"
    tau = None if tau is None else tau_of(tau)
    chosen = sensitivities.of_region(sensitivity, tau, usual, len(models))
    # Also those that a model alone has: they are ignored.
    unmerged = {name for tensors in (base, *models.values()) for name in tensors.entries} - {*names}
    _check_read(measured, chosen)
    in_order = {what: _in_order(given, models, unmerged, layout, what) for what, given in measured.items()}
    kept = _trust_region(chosen, tau, task_vectors=vectors, **in_order) if chosen else None
    v, factor = merged_direction(vectors, layout)
    flat = np.empty(layout.size, np.float32)
    for block, part in zip(layout.blocks(), applied(origin, v, factor, kept), strict=True):
        flat[block] = part
    return layout.unflatten(flat)


def _check_read(measured: Mapping[str, Any], chosen: Sensitivity | None) -> None:
    for what in (what for what, given in measured.items() if given is not None):
        if chosen is None:
            raise TatrError(f"{what}: are not read without a trust region; give tau, or leave them out")
        if what not in chosen.needs:
            raise TatrError(f"{what}: are not read by sensitivity '{chosen.name}'; give another one, or leave them out")


def _trust_region(chosen: Sensitivity, tau: float | None, **ingredients: Sequence[Vector] | None) -> Vector:
    # Ω is computed whenever it is read: one pass finds its threshold, applying the mask is one more.
    omega = chosen.of(**ingredients)
    return mask(omega, end_of_region(omega, tau, chosen.threshold).epsilon)


def _flat(layout: Layout, tensors: StateDict, name: str) -> Gathered:
    def fill(key: str, inside: slice, entries: np.ndarray) -> None:
        entries[:] = _entries(tensors[key], inside)

    return Gathered(layout, fill, f"state dict '{name}'", if_not_finite(_ignoring))


def _in_order(
    gradients: Any,  # noqa: ANN401
    tasks: Mapping[str, Any],
    unmerged: Collection[str],
    layout: Layout,
    what: str,
) -> list[Gathered] | None:
    if gradients is None:
        return None
    by_task = by_name(gradients, what)
    if by_task.keys() != tasks.keys():
        raise TatrError(f"{what}: given for {', '.join(by_task)}; expected for {', '.join(tasks)}")
    found = []
    for task in tasks:
        where = f"{what} of '{task}'"
        state = {name: its for name, its in state_dict(by_task[task], where).items() if name not in unmerged}
        if missing := next((p.name for p in layout.parameters if p.name not in state), None):
            raise TatrError(f"{where}: '{missing}' is missing; give it zeros, or don't merge it: ignore=['{missing}']")
        layout.check_names(state, where)
        entries = StateTensors(where, state).entries
        for parameter in layout.parameters:
            entry = entries[parameter.name]
            parameter.check_shape(entry.shape, where)
            parameter.check_type(entry.dtype, where, is_floating=entry.is_floating)
        found.append(_measured(layout, state, where, signed=what == "signed_gradients"))
    return found


def _measured(layout: Layout, gradients: StateDict, where: str, *, signed: bool) -> Gathered:
    def fill(key: str, inside: slice, entries: np.ndarray) -> None:
        entries[:] = _entries(gradients[key], inside)
        if not signed and (least := entries.min(initial=0)) < 0:
            raise TatrError(
                f"{where}: '{key}' holds {least:g}; expected mean absolute per-exemplar gradients, from 0 up, as "
                "tatr.mean_absolute_gradient gives them"
            )

    return Gathered(layout, fill, where, lambda name: "measure it again")


def _entries(tensor: Any, inside: slice) -> np.ndarray:  # noqa: ANN401
    # torch is recognised by what its tensors can do, so that NumPy users need not have it.
    if hasattr(tensor, "detach"):
        return tensor.detach().reshape(-1)[inside].float().cpu().numpy()
    return np.asarray(tensor).reshape(-1)[inside]


def _like(original: Any, merged: np.ndarray) -> Any:  # noqa: ANN401
    if hasattr(original, "detach"):
        return original.detach().new_tensor(merged)
    return merged.astype(original.dtype)
