"""Weights of tasks: how much each task counts in methods that add up or average task vectors."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tatr.errors import TatrError
from tatr.settings import plain_number
from tatr.vectors.vector import Vector, mapped

Weights = Sequence[float] | None
"""Per task, above 0; None for all alike. A method that takes `weights` next to its task vectors says what they do."""

LEAST, MOST = 1e-30, 1e30
"""Of a weight: beyond, float32 would make 0 or infinity of what is multiplied by it."""


def weighted(task_vectors: Sequence[Vector], weights: Weights) -> list[Vector]:
    """w_k Δ_k of each task, float32 [N]."""
    if weights is None:
        return [*task_vectors]
    return [_times(vector, weight) for vector, weight in zip(task_vectors, weights, strict=True)]


def factors_of(weights: Weights, tasks: int) -> Sequence[float]:
    """w_k of each task; 1 where there are no weights."""
    return [1.0] * tasks if weights is None else weights


def with_mean_one(weights: Weights) -> Weights:
    """The weights times K / Σ_k w_k, so that (1/K) Σ_k w_k Δ_k is a weighted mean."""
    return None if weights is None else [len(weights) * weight / math.fsum(weights) for weight in weights]


def task_weights_of(weights: Mapping[str, float] | None, tasks: Iterable[str]) -> Weights:
    """Weights of named tasks in the order of the tasks; 1 for those that are not named, None if all are alike.

    Args:
        weights: by task.
        tasks: that are merged.

    Raises:
        TatrError: they are not by task, a task is unknown, or a weight is no number above 0, or so far from 1 that
            float32 can't hold what it is multiplied by.
    """
    tasks = [*tasks]
    if not isinstance(weights, Mapping | None):
        raise TatrError(f"weights: {weights!r}: expected weights by task, such as {{{tasks[0]!r}: 2}}")
    for task, weight in (weights or {}).items():
        if task not in tasks:
            raise TatrError(f"weights: '{task}' is not merged; expected {', '.join(tasks)}")
        if (plain_number(weight) or 0) <= 0:
            raise TatrError(
                f"weights: {task}: {weight!r}: expected a number above 0; leave out a task that is not to count"
            )
        if not LEAST <= weight <= MOST:
            raise TatrError(f"weights: {task}: {weight!r}: expected a number from {LEAST:g} to {MOST:g}")
    found = [float((weights or {}).get(task, 1)) for task in tasks]
    return found if any(weight != 1 for weight in found) else None


def _times(vector: Vector, weight: float) -> Vector:
    return vector if weight == 1 else mapped(lambda part: np.float32(weight) * part, vector)
