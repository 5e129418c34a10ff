"""Task Arithmetic: the sum of the task vectors."""

from collections.abc import Sequence

from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, weighted
from tatr.vectors.vector import Vector, total


@method("Task Arithmetic", coefficient=0.3)
def task_arithmetic(task_vectors: Sequence[Vector], weights: Weights = None) -> Vector:
    """v = Σ_k Δ_k.

    Source: Ilharco et al. 2023, "Editing models with task arithmetic".

    Defaults: λ = 0.3 is what papers on merged CLIP models report; the authors choose it on validation.
    Weights: v = Σ_k w_k Δ_k.
    Trust region: this is TATR itself, θ_pre + λ Σ_k Δ_k ⊙ mask (Eq. 10 of arXiv 2501.15065). The mask is the same for
    every task, so masking the sum once equals masking each task vector.
    Cost: one pass over the task vectors; one block of each is in memory at a time.
    """
    return total(weighted(task_vectors, weights))
