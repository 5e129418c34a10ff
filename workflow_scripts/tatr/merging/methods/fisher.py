"""Fisher merging: each parameter is the average of the fine-tuned ones, weighted by their Fisher information."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, factors_of
from tatr.vectors.vector import Vector, computed, read


@method("Fisher merging", coefficient=1.0)
def fisher(
    task_vectors: Sequence[Vector],
    fishers: Sequence[Vector],
    weights: Weights = None,
    *,
    exemplars: Annotated[int, Interval(ge=1), "training images per task that Fisher information is measured on"] = 256,
    floor: Annotated[float, Interval(gt=0), "smallest weight a task's parameter has in the average"] = 1e-6,
    normalise: Annotated[bool, "scale each task's Fisher information to Euclidean length 1"] = True,
) -> Vector:
    """v = Σ_k f_k ⊙ Δ_k / Σ_k f_k with f_k = max(F_k / ‖F_k‖, floor).

    Source: Matena & Raffel 2022, "Merging models with Fisher-weighted averaging" (arXiv 2111.09832), Eq. 5, all tasks
    with the same coefficient. Weights add to one, so averaging Δ_k is averaging θ_k: θ_pre + v is their merged model
    and λ = 1. F_k is the diagonal Fisher information of task k at θ_k: squared gradients of log p(y|x), one exemplar
    at a time, in expectation over all labels y under the model's own p(y|x). No label of the data is read.
    Defaults: floor 1e-6 and Fisher information of length 1 are those of the authors' code; 256 exemplars are what
    published CLIP benchmarks use (the authors' code takes up to 4096).
    Weights: f_k is multiplied by w_k, the coefficient of a task in the paper's Eq. 5.
    Trust region: the mask multiplies v, as a sum of masked Δ_k with the same weights would be the same.
    Differences from published codes: the authors' code merges donors into one target model, and by default raises only
    the target's weights to the floor, before scaling. Here no task is the target, so all are raised, and after
    scaling: where no task has information the result is the plain mean, not the model whose F_k is shortest. Codes
    for CLIP square the gradient of a batch's sum over labels instead, in which exemplars and labels cancel, and add
    the floor. The authors tune a coefficient per task on validation; here all are 1 unless there are weights.
    Cost: two passes over F_k (one without `normalise`) and one over Δ_k; one block of each is in memory. Measuring F_k
    takes one forward and up to C − 1 backward passes per exemplar, C being the task's number of classes.
    """
    # `exemplars` is a setting of the stage that measures `fishers`; here they have been measured.
    factors = factors_of(weights, len(task_vectors))
    scales = [_length(vector) if normalise else 1.0 for vector in fishers]

    def part(block: slice) -> np.ndarray:
        # In float64 one task alone, or K equal ones, merge to themselves bit for bit.
        total = np.zeros(block.stop - block.start)
        shares = np.zeros_like(total)
        for vector, information, scale, factor in zip(task_vectors, fishers, scales, factors, strict=True):
            share = np.maximum(information[block].astype(np.float64) / scale, floor) * factor
            total += share * vector[block]
            shares += share
        return (total / shares).astype(np.float32)

    return computed(part, *task_vectors, *fishers)


def _length(vector: Vector) -> float:
    squares = sum(float(np.square(part, dtype=np.float64).sum()) for part in read(vector))
    return float(np.sqrt(squares)) or 1.0  # without any information the floor alone counts
