"""Consensus Task Arithmetic: the sum of the task vectors where at least two tasks use it."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from tatr.merging.methods import method
from tatr.merging.task_weights import Weights
from tatr.vectors.vector import Vector, mapped


def _refuses(settings: Mapping[str, Any], tasks: int) -> str | None:
    if settings["agreeing"] <= tasks:
        return None
    there = "is 1 task" if tasks == 1 else f"are {tasks} tasks"
    return f"agreeing = {settings['agreeing']} but there {there} to merge, so nothing would be kept"


@method("Consensus Task Arithmetic", coefficient=0.3, refuses=_refuses)
def consensus(
    task_vectors: Sequence[Vector],
    weights: Weights = None,
    *,
    information: Annotated[float, Interval(ge=0), "how large an entry must be, against the other tasks' sum"] = 0.4,
    agreeing: Annotated[int, Interval(ge=0), "how many tasks must use an entry for it to be kept"] = 2,
) -> Vector:
    """v = (Σ_k Δ_k) ⊙ [Σ_k m_k ≥ agreeing], with m_k = [|Δ_k| ≥ information · |Σ_{j≠k} Δ_j|].

    Source: Wang et al. 2024, "Localizing task information for improved model merging and compression", where m_k is
    task k's TALL mask and v is called Consensus Task Arithmetic.

    A task uses an entry if its own update there is not small against that of the other tasks together. Entries that
    no task uses, and entries that only one uses, are left at θ_pre: the first only disturb, the second serve one task
    at the others' cost.

    Defaults: `agreeing` 2 is the authors'. They choose `information` per task among 0.2, 0.3, 0.4, 0.5 and 0.6 on
    validation data, and then λ; here one value serves all tasks, by default the middle one, and λ = 0.3 is Task
    Arithmetic's. The kept share falls as `information` grows, so tune λ and it together. With `information` or
    `agreeing` 0 this is Task Arithmetic.
    Weights: the sum that is kept is Σ_k w_k Δ_k; which tasks use an entry is found without weights.
    Trust region: the mask applies to v. Everything here is done entry by entry, so masking the task vectors first
    gives the same.
    Differences from the authors' code: an entry just as large as the bound is used (the paper's ≥, the code's >); the
    sum of the other tasks is taken from the task vectors, not from a merged and a fine-tuned model, and in float64, so
    that no entry is kept or dropped by the order of tasks.
    Cost: one pass over the task vectors; one block of each is in memory at a time.
    """

    def merged(*parts: np.ndarray) -> np.ndarray:
        total = parts[0].astype(np.float64)
        for part in parts[1:]:
            total += part
        users = np.zeros(len(total), np.int32)
        for part in parts:
            others = total - part
            users += np.abs(part) >= np.multiply(np.abs(others, out=others), information, out=others)
        if weights is not None:
            total = np.zeros(len(total))
            for weight, part in zip(weights, parts, strict=True):
                total += weight * part.astype(np.float64)
        return np.where(users >= agreeing, total, 0).astype(np.float32)

    return mapped(merged, *task_vectors)
