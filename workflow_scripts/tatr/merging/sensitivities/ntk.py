"""The paper's sensitivity by gradients alone."""

from collections.abc import Sequence

from tatr.merging.sensitivities import pair_sum, sensitivity
from tatr.vectors.vector import Vector


@sensitivity("TATR NTK")
def ntk(gradients: Sequence[Vector]) -> Vector:
    """Ω = Σ_{i≠j} G_j ⊙ G_i (Table 6 of arXiv 2501.15065).

    The gradient of task i, in place of its task vector, says where its update will go: the diagonal of a neural tangent
    kernel between tasks, by absolute values.
    """
    return pair_sum(gradients)
