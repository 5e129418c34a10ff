"""The paper's sensitivity that merges along the gradients' descent only."""

from collections.abc import Sequence

import numpy as np

from tatr.merging.sensitivities import sensitivity, signed_cross_sum
from tatr.vectors.vector import Vector, mapped


@sensitivity("TATR negative", threshold=1)
def negative(task_vectors: Sequence[Vector], signed_gradients: Sequence[Vector]) -> Vector:
    """Ω = 0 where Σ_{i≠j} ∇L_j ⊙ Δ_i < 0, else 1 (Table 6 of arXiv 2501.15065).

    ∇L_j is the gradient of task j's mean loss at θ_pre, with its signs. To first order, what is kept moves the tasks'
    losses down. The paper prints only the formula of the sum; that its sign alone decides, without τ, is how it is read
    here.
    """
    return mapped(_is_left_out, signed_cross_sum(signed_gradients, task_vectors))


def _is_left_out(products: np.ndarray) -> np.ndarray:
    return (products >= 0).astype(np.float32)
