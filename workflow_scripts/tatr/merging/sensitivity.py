"""Sensitivity Ω of every parameter to the other tasks' updates (Eq. 8 of arXiv 2501.15065).

Ω = Σ_{i≠j} G_j ⊙ |Δ_i|, where G_j is the mean absolute per-exemplar gradient of task j at θ_pre and Δ_i the task
vector of task i. Zero-shot (Eq. 7): G_j := |Δ_j|.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.layout import blocks
from tatr.vectors.vector import Vector


def sensitivity(task_vectors: Sequence[Vector], gradients: Sequence[Vector] | None = None) -> Iterator[np.ndarray]:
    """Blocks of Ω, float32, in order.

    Args:
        task_vectors: Δ_k, each [N].
        gradients: G_k ≥ 0, each [N], in the same task order; None for zero-shot.

    Raises:
        TatrError: fewer than two tasks, or not one gradient per task.
    """
    if len(task_vectors) < 2:
        raise TatrError("sensitivity: needs at least two tasks, since it sums over pairs of different tasks")
    if gradients is not None and len(gradients) != len(task_vectors):
        raise TatrError(f"sensitivity: {len(task_vectors)} task vectors but {len(gradients)} gradients")
    for block in blocks(len(task_vectors[0])):
        magnitudes = (np.abs(vector[block]) for vector in task_vectors)
        if gradients is None:
            yield cross_sum((m, m) for m in magnitudes)
        else:
            yield cross_sum((g[block], m) for g, m in zip(gradients, magnitudes, strict=True))


def cross_sum(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Σ_{i≠j} G_j ⊙ A_i over tasks given one by one as (G_k, A_k), in one pass and with 2K products.

    Each new task meets the running sums of the tasks before it: Ω += G_k ⊙ ΣA + A_k ⊙ ΣG. All terms are ≥ 0 and
    nothing is subtracted, so nothing cancels; (ΣG) ⊙ (ΣA) − Σ G_k ⊙ A_k is the same sum, but loses digits where one
    task's values dwarf the others'.
    """
    pairs = iter(pairs)
    gradient, magnitude = next(pairs)
    gradient_sum, magnitude_sum = gradient.copy(), magnitude.copy()
    omega = np.zeros_like(gradient_sum)
    for gradient, magnitude in pairs:
        omega += gradient * magnitude_sum
        omega += magnitude * gradient_sum
        gradient_sum += gradient
        magnitude_sum += magnitude
    return omega
