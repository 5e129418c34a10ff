"""LOT Merging: every layer's outputs as near as they can be to those of the fine-tuned ones on their own inputs."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.matrices.least_squares import bytes_of, minimum, weighted_sums
from tatr.merging.matrices.linear_maps import is_linear_map, is_scale
from tatr.merging.matrices.measured_tasks import MeasuredTasks, each_measured
from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, factors_of, with_mean_one
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector

NOISE = float(np.finfo(np.float32).eps)
"""Rounding of float32, in which Gram matrices are stored: times the number of inputs, a share of the largest value."""


@method("LOT Merging", coefficient=1.2)
def lot(
    task_vectors: Sequence[Vector],
    layout: Layout,
    grams: Sequence[Vector],
    weights: Weights = None,
    *,
    exemplars: Annotated[int, Interval(ge=1), "training images per task that inputs are measured on"] = 64,
) -> Iterator[np.ndarray]:
    """v = (Σ_k G_k)† Σ_k G_k Δ_k for linear maps x ↦ x·M and norms' scales, and (1/K) Σ_k Δ_k for all else.

    Source: Sun et al. 2025, "Towards minimizing feature drift in model merging: layer-wise task vector fusion for
    adaptive knowledge integration" (LOT, arXiv 2505.23859, NeurIPS 2025). Layer by layer, the merged change's outputs
    come as near as they can to those of task k's change on the inputs X_k that the layer has in model θ_k on task k's
    images: v minimises Σ_k ‖X_k v − X_k Δ_k‖², with G_k = X_kᵀ X_k. Of all minima it is the smallest, so that
    directions that no input has stay at θ_pre. A norm's scale multiplies entry by entry: with s_k = Σ x̂² over the
    normalised inputs, v = Σ_k s_k Δ_k / Σ_k s_k. What is added (biases, norms' shifts, positions, class token) is
    averaged. No label is read. These formulas follow from the paper's objective, and agree with a port of the authors'
    code; the paper's own could not be read.
    Where Σ_k G_k is invertible this is RegMean with `off_diagonal` at 1, but for the norms. RegMean, where it is not,
    draws towards the mean.

    Defaults: 64 exemplars are the paper's recommendation, λ = 1.2 is its choice for ViT-B/32 with eight tasks (1.5 for
    L/14); from 1 to 1.5 accuracies hardly differ there.

    Linear maps are all of the image encoder's: patch embedding (of windows), attention's in_proj and out_proj, both of
    the MLP, and the projection. Stacking queries, keys and values changes nothing, as their inputs are the same.

    Weights: G_k and s_k are multiplied by w_k, a task's weight in the sum that v minimises; means are weighted ones.

    Trust region: the mask multiplies v. Masked task vectors would be other targets, for which G_k was not measured.

    Differences from the port: it takes a pseudo-inverse in float32. Here all is in float64 on Gram matrices stored in
    float32, whose noise must not be divided by: eigenvalues of Σ_k G_k up to in · 1.2e-7 of the largest count as zero.
    A scale's entry that no input reaches stays at θ_pre, where the port adds 1e-10 to a denominator.

    Cost: per linear map the eigenvectors of one matrix [in, in] (3072 for the MLP's second weight in ViT-B/32) and
    K + 3 products, in float64. In memory are five matrices [in, in] and four of the weight's size, however many tasks
    there are; threads take as many maps at once as fit into 256 MiB.
    """
    # `exemplars` is a setting of the stage that measures `grams`; here they have been measured.
    factors = factors_of(with_mean_one(weights), len(task_vectors))

    def merged(tasks: MeasuredTasks) -> np.ndarray:
        if is_linear_map(tasks.parameter):
            return tasks.entries(_linear_map(tasks, factors))
        if is_scale(tasks.parameter):
            return _scale(tasks, factors)
        total = sum(factor * tasks.change(task) for task, factor in enumerate(factors))
        return np.asarray(total / len(tasks))

    return each_measured(merged, task_vectors, layout, grams, bytes_of=bytes_of)


def _linear_map(tasks: MeasuredTasks, factors: Sequence[float]) -> np.ndarray:
    pairs = ((tasks.matrix(task), factor * tasks.moments(task)) for task, factor in enumerate(factors))
    return minimum(weighted_sums(tasks.shape, pairs), np.zeros(tasks.shape), NOISE * tasks.shape[1])


def _scale(tasks: MeasuredTasks, factors: Sequence[float]) -> np.ndarray:
    total, weights = np.zeros(tasks.parameter.size), np.zeros(tasks.parameter.size)
    for task, factor in enumerate(factors):
        moments = factor * tasks.moments(task)
        total += moments * tasks.change(task)
        weights += moments
    return np.divide(total, weights, out=total, where=weights > 0)
