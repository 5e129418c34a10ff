"""The largest entries of task vectors: how large an entry must be to count among them."""

from collections.abc import Sequence

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.order_statistics import nth_smallest_of_each, share_of
from tatr.vectors.vector import Vector, mapped


def thresholds_of_largest(task_vectors: Sequence[Vector], density: float) -> np.ndarray:
    """Of each task the smallest magnitude among its ⌊density · N⌋ largest entries, float32 [K].

    Args:
        task_vectors: Δ_k, each float32 [N].
        density: share of the entries, in (0, 1].

    Raises:
        TatrError: the share is of no entry.
    """
    size = len(task_vectors[0])
    kept = share_of(density, size)
    if not kept:
        raise TatrError(f"density = {density:g} keeps none of {size:,} entries; give a larger one")
    magnitudes = [mapped(np.abs, vector) for vector in task_vectors]
    found = nth_smallest_of_each(magnitudes, [[size - kept]] * len(task_vectors))
    return np.array([ranked.value for (ranked,) in found], np.float32)
