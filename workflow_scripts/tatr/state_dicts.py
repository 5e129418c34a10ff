"""Merging state dicts in memory: the library's front door, for any architecture and without the pipeline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.layout import Layout
from tatr.merging import direction
from tatr.methods import load
from tatr.sensitivity import sensitivity
from tatr.trust_region import keep, thresholds
from tatr.vector import Vector

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
    **settings: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Merge fine-tuned models into one: θ_pre + λ·v, with v restricted to the trust region if `tau` is given.

    Args:
        pretrained: θ_pre.
        finetuned: per task, θ_k with the same names and shapes.
        method: a name of `tatr.methods`.
        coefficient: λ; None takes the method's usual one.
        tau: share of the parameters, the most sensitive ones, that stay as they are in θ_pre; None merges all.
        gradients: per task, the mean absolute per-exemplar gradient at θ_pre (see `mean_absolute_gradient`);
            None uses |Δ_k| instead (zero-shot, Eq. 7).
        settings: of the method.

    Returns:
        The merged state dict, with the types, dtypes, devices and order of `pretrained`; entries that are not
        floating point (counters, say) are taken from `pretrained`.

    Raises:
        TatrError: names or shapes differ, values are not finite, or an argument is out of range.
    """
    floating = {name: tensor for name, tensor in pretrained.items() if _is_floating(tensor)}
    layout = Layout.of({name: tuple(tensor.shape) for name, tensor in floating.items()})
    base = _Flat(layout, floating, "pretrained")
    models = {task: _Flat(layout, _match(state, pretrained, task), task) for task, state in finetuned.items()}
    vectors = [_Difference(model, base) for model in models.values()]
    mask = None if tau is None else _mask(vectors, _in_order(gradients, finetuned, layout), tau)
    if coefficient is None:
        coefficient = load(method).coefficient
    merged = np.empty(layout.size, np.float32)
    for block, part in zip(layout.blocks(), direction(method, vectors, mask, settings, layout=layout), strict=True):
        merged[block] = base[block] + np.float32(coefficient) * part
    views = layout.unflatten(merged)
    return {name: _like(tensor, views[name]) if name in views else tensor for name, tensor in pretrained.items()}


@dataclass(frozen=True)
class _Flat:
    """A state dict seen as a flat float32 vector; tensors are converted when a block asks for them."""

    layout: Layout
    tensors: StateDict
    name: str

    def __len__(self) -> int:
        return self.layout.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        return self.layout.gather(block, lambda name: _to_numpy(self.tensors[name]), f"state dict '{self.name}'")


@dataclass(frozen=True)
class _Difference:
    """A task vector that is never held as a whole."""

    model: _Flat
    base: _Flat

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        return self.model[block] - self.base[block]


def _mask(vectors: Sequence[Vector], gradients: Sequence[Vector] | None, tau: float) -> np.ndarray:
    omega = np.concatenate([*sensitivity(vectors, gradients)])
    (threshold,) = thresholds(omega, [tau])
    return np.concatenate([*keep(omega, threshold)])


def _in_order(
    gradients: Mapping[str, StateDict] | None, tasks: Mapping[str, Any], layout: Layout
) -> list[_Flat] | None:
    if gradients is None:
        return None
    if gradients.keys() != tasks.keys():
        raise TatrError(f"gradients: given for {', '.join(gradients)}; expected for {', '.join(tasks)}")
    for task in tasks:
        layout.check_names(gradients[task], f"gradients of '{task}'")
    return [_Flat(layout, gradients[task], f"gradients of {task}") for task in tasks]


def _match(state: StateDict, pretrained: StateDict, task: str) -> StateDict:
    whole = Layout.of({name: tuple(tensor.shape) for name, tensor in pretrained.items()})
    whole.check_names(state, f"state dict '{task}'")
    return state


def _is_floating(tensor: Any) -> bool:  # noqa: ANN401
    return "float" in str(tensor.dtype)


def _to_numpy(tensor: Any) -> np.ndarray:  # noqa: ANN401
    # torch is recognised by what its tensors can do, so that NumPy users need not have it.
    return tensor.detach().float().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(tensor)


def _like(original: Any, merged: np.ndarray) -> Any:  # noqa: ANN401
    if hasattr(original, "detach"):
        return original.detach().new_tensor(merged)
    return merged.astype(original.dtype)
