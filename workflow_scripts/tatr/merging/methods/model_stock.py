"""Model Stock: the mean of the task vectors, shortened by how much their directions differ."""

from collections.abc import Iterator, Sequence

import numpy as np

from tatr.merging.matrices.each_parameter import each_parameter
from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, factors_of, with_mean_one
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector


@method("Model Stock", coefficient=1.0)
def model_stock(task_vectors: Sequence[Vector], layout: Layout, weights: Weights = None) -> Iterator[np.ndarray]:
    """v = t · (1/K) Σ_k Δ_k per parameter tensor, with t = K cos θ / (1 + (K − 1) cos θ).

    Source: Jang et al. 2024, "Model Stock: all we need is just a few fine-tuned models" (arXiv 2403.19522). It was made
    for models that were fine-tuned on one and the same task with different seeds: these lie around a centre, and the
    point of their plane that is nearest to the centre lies at t between θ_pre (t = 0, directions at right angles) and
    their mean (t = 1, all directions alike). Models of different tasks are almost at right angles: with cos θ = 0.05
    and eight tasks t is 0.30, and the merge stays near θ_pre.

    θ is the angle between task vectors, of a tensor. For more than two models the paper leaves open which; here cos θ
    is the mean of the cosines of all pairs, as in mergekit. A task that left the tensor as it was has the cosine 0 with
    all others. Where the mean is negative, t is 0. One task alone has t = 1.

    Defaults: λ = 1 is the paper's; it has no settings.
    Weights: the mean is weighted by w_k; the angles are not.
    Trust region: the mask applies to v. It does not change the angles.
    Differences from published codes: with a negative mean cosine mergekit's t is negative, a step away from the mean,
    of any length as the denominator nears zero. It takes the product of two norms for at least 1e-6, which makes
    cosines of small tensors too small. fusion-bench takes the cosine of the mean angle.
    Cost: one pass over the task vectors; one parameter tensor of one task and two sums, in float64, per thread.
    """
    factors = factors_of(with_mean_one(weights), len(task_vectors))
    return each_parameter(
        lambda parameter: _shortened(task_vectors, factors, parameter), layout, lambda parameter: 36 * parameter.size
    )


def _shortened(task_vectors: Sequence[Vector], factors: Sequence[float], parameter: Parameter) -> np.ndarray:
    count, moving = len(task_vectors), 0
    total, units = np.zeros(parameter.size), np.zeros(parameter.size)
    for vector, factor in zip(task_vectors, factors, strict=True):
        part = vector[parameter.offset : parameter.stop].astype(np.float64)
        total += factor * part
        if norm := float(np.linalg.norm(part)):
            units += part / norm
            moving += 1
    # ‖Σ_k Δ_k/‖Δ_k‖‖² is the sum of the cosines of all pairs, those of each with itself among them.
    cosine = (float(units @ units) - moving) / (count * (count - 1)) if count > 1 else 1.0
    cosine = max(cosine, 0)
    return (total * (cosine / (1 + (count - 1) * cosine))).astype(np.float32)
