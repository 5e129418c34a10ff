"""MagMax: of each parameter, the one task vector's entry that is largest."""

from collections.abc import Sequence

import numpy as np

from tatr.merging.methods import method
from tatr.vectors.vector import Vector, computed


@method("MagMax", coefficient=0.5)
def magmax(task_vectors: Sequence[Vector]) -> Vector:
    """v = Δ_k with k = argmax_k |Δ_k|, entry by entry.

    Source: Marczak et al. 2024, "MagMax: Leveraging model merging for seamless continual learning" (arXiv 2407.06322),
    there for models that were fine-tuned one after another; here for models that were fine-tuned side by side.

    Defaults: λ = 0.5 is ours, halfway from θ_pre to taking every largest entry whole; search around it.
    Trust region: the mask applies to v. All is done entry by entry, so masking the task vectors first gives the same.
    Differences from other codes: of entries with the same magnitude and other signs the positive one is taken, so the
    result does not depend on the order of tasks.
    Cost: one pass over the task vectors; one block of each is in memory at a time.
    """

    def part(block: slice) -> np.ndarray:
        largest = task_vectors[0][block].copy()
        smallest = largest.copy()
        for vector in task_vectors[1:]:
            entries = vector[block]
            np.maximum(largest, entries, out=largest)
            np.minimum(smallest, entries, out=smallest)
        return np.where(largest >= -smallest, largest, smallest)

    return computed(part, *task_vectors)
