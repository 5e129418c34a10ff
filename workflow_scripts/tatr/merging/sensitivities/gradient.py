"""The paper's sensitivity: how strongly each task's loss reacts to the other tasks' updates."""

from collections.abc import Sequence

from tatr.merging.sensitivities import cross_sum, sensitivity
from tatr.vectors.vector import Vector


@sensitivity("TATR")
def gradient(task_vectors: Sequence[Vector], gradients: Sequence[Vector]) -> Vector:
    """Ω = Σ_{i≠j} G_j ⊙ |Δ_i| (Eq. 8 of arXiv 2501.15065).

    G_j is the mean absolute per-exemplar gradient of task j's loss at θ_pre (Eq. 6) and Δ_i the task vector of task i.
    """
    return cross_sum(gradients, task_vectors)
