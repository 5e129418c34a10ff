"""Merging state dicts in memory: the library's front door, for any architecture and without the pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.merging import sensitivities
from tatr.merging.mask import end_of_region, mask
from tatr.merging.merge import MergeInputs, direction
from tatr.merging.methods import load
from tatr.merging.sensitivities import Sensitivity
from tatr.merging.task_vector import task_vector
from tatr.vectors.apply import applied
from tatr.vectors.gathered import Gathered
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector, remembered

StateDict = Mapping[str, Any]
"""Tensors by name: NumPy arrays or torch tensors."""


def merge(
    pretrained: StateDict,
    finetuned: Mapping[str, StateDict],
    *,
    method: str = "task_arithmetic",
    coefficient: float | None = None,
    tau: float | None = None,
    gradients: Mapping[str, StateDict] | None = None,
    sensitivity: str | None = None,
    signed_gradients: Mapping[str, StateDict] | None = None,
    **settings: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Merge fine-tuned models into one: θ_pre + λ·v, with v restricted to a trust region if one is asked for.

    Args:
        pretrained: θ_pre.
        finetuned: per task, θ_k with the same names and shapes.
        method: a name of `tatr.merging.methods`.
        coefficient: λ; None takes the method's usual one.
        tau: share of the parameters, the most sensitive ones, that stay as they are in θ_pre; None merges all. The
            sensitivities `positive` and `negative` decide by themselves and take none.
        gradients: per task, the mean absolute per-exemplar gradient at θ_pre (see `mean_absolute_gradient`).
        sensitivity: how Ω is made, a name of `tatr.merging.sensitivities`; None takes `gradient` where gradients are
            given, else `zero_shot`, which uses |Δ_k| instead (Eq. 7).
        signed_gradients: per task, the mean gradient at θ_pre with its signs, for `positive` and `negative`.
        settings: of the method.

    Returns:
        The merged state dict, with the types, dtypes, devices and order of `pretrained`; entries that are not
        floating point (counters, say) are taken from `pretrained`.

    Raises:
        TatrError: names or shapes differ, values are not finite, or an argument is out of range.
    """
    floating = {name: tensor for name, tensor in pretrained.items() if _is_floating(tensor)}
    layout = Layout.of({name: tuple(tensor.shape) for name, tensor in floating.items()})
    base = remembered(_flat(layout, floating, "pretrained"))
    models = [_flat(layout, _match(state, pretrained, task), task) for task, state in finetuned.items()]
    vectors = [task_vector(model, base) for model in models]
    chosen = sensitivities.of_region(sensitivity, tau, "zero_shot" if gradients is None else "gradient")
    measured = {"gradients": gradients, "signed_gradients": signed_gradients}
    in_order = {what: _in_order(given, finetuned, layout, what) for what, given in measured.items()}
    region = _trust_region(chosen, tau, task_vectors=vectors, **in_order) if chosen else None
    merged_direction = direction(method, MergeInputs(vectors, layout), settings)
    if coefficient is None:
        coefficient = load(method).coefficient
    merged = np.empty(layout.size, np.float32)
    for block, part in zip(layout.blocks(), applied(base, merged_direction, coefficient, region), strict=True):
        merged[block] = part
    views = layout.unflatten(merged)
    return {name: _like(tensor, views[name]) if name in views else tensor for name, tensor in pretrained.items()}


def _trust_region(chosen: Sensitivity, tau: float | None, **ingredients: Sequence[Vector] | None) -> Vector:
    # Ω is computed whenever it is read: one pass finds its threshold, applying the mask is one more.
    omega = chosen.of(**ingredients)
    return mask(omega, end_of_region(omega, tau, chosen.threshold).epsilon)


def _flat(layout: Layout, tensors: StateDict, name: str) -> Gathered:
    return Gathered(layout, lambda key, inside: _entries(tensors[key], inside), f"state dict '{name}'")


def _in_order(
    gradients: Mapping[str, StateDict] | None, tasks: Mapping[str, Any], layout: Layout, what: str
) -> list[Gathered] | None:
    if gradients is None:
        return None
    if gradients.keys() != tasks.keys():
        raise TatrError(f"{what}: given for {', '.join(gradients)}; expected for {', '.join(tasks)}")
    for task in tasks:
        layout.check_names(gradients[task], f"{what} of '{task}'")
        _check_tensors(layout, gradients[task], f"{what} of '{task}'")
    return [_flat(layout, gradients[task], f"{what} of {task}") for task in tasks]


def _match(state: StateDict, pretrained: StateDict, task: str) -> StateDict:
    where = f"state dict '{task}'"
    layout = Layout.of({name: tuple(tensor.shape) for name, tensor in pretrained.items()})
    layout.check_names(state, where)
    floating = {name: tuple(tensor.shape) for name, tensor in pretrained.items() if _is_floating(tensor)}
    _check_tensors(Layout.of(floating), state, where)
    return state


def _check_tensors(layout: Layout, state: StateDict, where: str) -> None:
    for parameter in layout.parameters:
        tensor = state[parameter.name]
        parameter.check_shape(tensor.shape, where)
        parameter.check_type(str(tensor.dtype), where, is_floating=_is_floating(tensor))


def _is_floating(tensor: Any) -> bool:  # noqa: ANN401
    return "float" in str(tensor.dtype)


def _entries(tensor: Any, inside: slice) -> np.ndarray:  # noqa: ANN401
    # torch is recognised by what its tensors can do, so that NumPy users need not have it.
    if hasattr(tensor, "detach"):
        return tensor.detach().reshape(-1)[inside].float().cpu().numpy()
    return np.asarray(tensor).reshape(-1)[inside]


def _like(original: Any, merged: np.ndarray) -> Any:  # noqa: ANN401
    if hasattr(original, "detach"):
        return original.detach().new_tensor(merged)
    return merged.astype(original.dtype)
