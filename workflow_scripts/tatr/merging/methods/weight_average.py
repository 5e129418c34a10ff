"""Weight Averaging: the mean of the fine-tuned models."""

from collections.abc import Sequence

import numpy as np

from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, weighted, with_mean_one
from tatr.vectors.vector import Vector, mapped, total


@method("Weight Averaging", coefficient=1.0)
def weight_average(task_vectors: Sequence[Vector], weights: Weights = None) -> Vector:
    """v = (1/K) Σ_k Δ_k, so that θ_pre + v is the mean of θ_k.

    Source: Wortsman et al. 2022, "Model soups: averaging weights of multiple fine-tuned models improves accuracy
    without increasing inference time".

    Defaults: λ = 1. Task Arithmetic with λ = 1/K is the same model.
    Weights: v = Σ_k w_k Δ_k / Σ_k w_k, so that θ_pre + v is the weighted mean of θ_k.
    Trust region: the mask applies to v; as this is linear, masking the task vectors first gives the same.
    Cost: one pass over the task vectors; one block of each is in memory at a time.
    """
    added = total(weighted(task_vectors, with_mean_one(weights)))
    return mapped(lambda part: part / np.float32(len(task_vectors)), added)
