"""A merge is a direction: a method's output over the task vectors. A trust region enters where it is applied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.merging.methods import Method, load, refusal_of_weights
from tatr.merging.task_weights import Weights
from tatr.vectors.apply import Direction
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector


@dataclass(frozen=True)
class MergeInputs:
    """What is merged, and what else methods may take by the names of their positional arguments."""

    task_vectors: Sequence[Vector]
    """Δ_k, each float32 [N]."""
    layout: Layout | None = None
    """Names and shapes of the parameters."""
    fishers: Sequence[Vector] | None = None
    """Per task, in the order of the task vectors: the diagonal of its Fisher information, float32 [N]."""
    grams: Sequence[Vector] | None = None
    """Per task: Gram matrices of the inputs of its linear maps (`tatr.merging.matrices.linear_maps`)."""
    merged_grams: Sequence[Vector] | None = None
    """Per task: Gram matrices of inputs that came through the merged encoder (`tatr.merging.methods.regmean_plusplus`).
    """
    coefficients: Sequence[Sequence[float]] | np.ndarray | None = None
    """Per task: what was learnt for each parameter tensor, [K, tensors]."""
    kept: Sequence[Mapping[str, Sequence[int]]] | None = None
    """Per task, by the weight's name: which singular components were learnt to stay, counted from the largest, 0."""
    weights: Weights = None
    """Per task; only methods that add up or average have them (`Method.takes_weights`)."""


def direction(method: str, inputs: MergeInputs, settings: Mapping[str, Any] | None = None) -> Direction:
    """The merged direction v, float32 [N]; the merged model is θ_pre + λ·v (`tatr.vectors.apply`).

    Args:
        method: a name of `tatr.merging.methods`.
        inputs: the task vectors, and what else the method needs (`Method.needs`).
        settings: the method's.

    Raises:
        TatrError: vectors of different lengths, none at all, settings or weights that the method does not take or that
            are out of range, or something missing that it needs.
    """
    chosen, settings = load(method), settings or {}
    _check(chosen, inputs, settings)
    needed = [getattr(inputs, name) for name in chosen.needs]
    weights = {} if inputs.weights is None else {"weights": inputs.weights}
    return chosen.formula(inputs.task_vectors, *needed, **weights, **settings)


def _check(method: Method, inputs: MergeInputs, settings: Mapping[str, Any]) -> None:
    task_vectors = inputs.task_vectors
    if not task_vectors:
        raise TatrError(f"{method.name}: no task vectors to merge")
    if len({len(vector) for vector in task_vectors}) > 1:
        raise TatrError(f"{method.name}: task vectors differ in length; they belong to different encoders")
    for name in method.needs:
        if (given := getattr(inputs, name)) is None:
            was, page = "was" if name == "layout" else "were", f"docs/merging/methods/{method.name}.md"
            raise TatrError(f"{method.name}: needs {name}, which {was} not given ({page})")
        if name != "layout" and len(given) != len(task_vectors):
            raise TatrError(f"{method.name}: {len(task_vectors)} task vectors but {len(given)} {name}")
    if "layout" in method.needs and inputs.layout and inputs.layout.size != len(task_vectors[0]):
        raise TatrError(
            f"{method.name}: task vectors of {len(task_vectors[0]):,} entries but a layout of "
            f"{inputs.layout.size:,}; they belong to different encoders"
        )
    if inputs.weights is not None:
        if reason := refusal_of_weights(method):
            raise TatrError(f"weights: {reason}")
        if len(inputs.weights) != len(task_vectors):
            raise TatrError(f"{method.name}: {len(task_vectors)} task vectors but {len(inputs.weights)} weights")
    method.check(settings)
    method.check_together(settings, len(task_vectors))
