"""The paper's sensitivity without data: task vectors in place of gradients."""

from collections.abc import Sequence

from tatr.merging.sensitivities import pair_sum, sensitivity
from tatr.vectors.vector import Vector


@sensitivity("TATR zero-shot")
def zero_shot(task_vectors: Sequence[Vector]) -> Vector:
    """Ω = Σ_{i≠j} |Δ_j| ⊙ |Δ_i| (Eq. 7 of arXiv 2501.15065).

    The update of task j, in place of G_j, says where its loss has reacted.
    """
    return pair_sum(task_vectors)
