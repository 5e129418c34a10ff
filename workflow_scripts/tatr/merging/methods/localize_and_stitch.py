"""Localize-and-Stitch without data: each task's largest entries, averaged where several tasks have one."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.largest import thresholds_of_largest
from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, factors_of
from tatr.vectors.vector import Vector, mapped


@method("Localize-and-Stitch", coefficient=1.0)
def localize_and_stitch(
    task_vectors: Sequence[Vector],
    weights: Weights = None,
    *,
    density: Annotated[
        float, Interval(gt=0, le=1), "share of each task vector that is kept, the largest entries"
    ] = 0.05,
) -> Vector:
    """v = Σ_k m_k ⊙ Δ_k / max(1, Σ_k m_k), with m_k = 1 at the ⌊density · N⌋ largest |Δ_k| of each task, else 0.

    Source: He et al. 2024, "Localize-and-Stitch: efficient model merging via sparse task arithmetic". Task vectors are
    so redundant that few entries carry most of what a task has learnt, and few of those meet other tasks': where only
    one task has such an entry, it is taken over whole. This is the variant without data; the other learns m_k on
    labelled images of each task.

    One threshold per task is taken over all N parameters. Entries equal to the smallest one kept are all kept, but
    entries of zero never count. It is what Ties-Merging does with `combine: mean`, without electing signs.

    Defaults: density 0.05 is that of the authors' script for language models, and λ = 1 theirs; what their script for
    CLIP sets is not read by their code. Tune `density`.
    Weights: where several tasks' entries meet, their mean is weighted by w_k; one that is alone is taken over whole.
    Trust region: the mask applies to v. It does not change which entries are the largest.
    Differences from the authors' code: it keeps one entry fewer per task. N counts the image encoder alone, here and
    there.
    Cost: two passes over the task vectors, of which the first finds all thresholds; one more over those in stores, to
    sample them. One block of each is in memory per thread.

    Raises:
        TatrError: the density is so small that nothing is kept.
    """
    thresholds, factors = thresholds_of_largest(task_vectors, density), factors_of(weights, len(task_vectors))

    def merged(*parts: np.ndarray) -> np.ndarray:
        total, shares = np.zeros(len(parts[0])), np.zeros(len(parts[0]))
        for part, threshold, weight in zip(parts, thresholds, factors, strict=True):
            chosen = (np.abs(part) >= threshold) & (part != 0)
            np.add(total, weight * part.astype(np.float64), out=total, where=chosen)
            shares += weight * chosen
        return np.divide(total, shares, out=total, where=shares > 0).astype(np.float32)

    return mapped(merged, *task_vectors)
