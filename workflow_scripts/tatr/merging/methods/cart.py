"""CART: the mean of the task vectors, and what is leading in each task's deviation from it."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.matrices.decompositions import leading
from tatr.merging.matrices.task_matrices import Attention, TaskMatrices, each_matrix
from tatr.merging.methods import method
from tatr.vectors.layout import Layout
from tatr.vectors.order_statistics import share_of
from tatr.vectors.vector import Vector


@method("CART", coefficient=1.0)
def cart(
    task_vectors: Sequence[Vector],
    layout: Layout,
    *,
    scale: Annotated[float, Interval(ge=0), "factor of the deviations; 0 leaves the mean"] = 2.0,
    rank_share: Annotated[
        float, Interval(gt=0, le=1), "share of each deviation's singular components that is kept"
    ] = 0.12,
    attention: Attention = "stacked",
) -> Iterator[np.ndarray]:
    """v = Δ̄ + scale · Σ_k trunc_r(Δ_k − Δ̄) per matrix, with Δ̄ the mean (1/K) Σ_k Δ_k; Δ̄ elsewhere.

    Source: Choi et al. 2024, "Revisiting weight averaging for model merging" (arXiv 2412.12153). trunc_r keeps the r
    largest singular components. Measured from the mean, deviations of different tasks interfere little, and their
    leading components hold what sets a task apart. Without truncation they would add up to zero.

    With r = max(1, ⌊rank_share · min(shape)⌋). λ multiplies the mean and the deviations alike; `scale` the deviations
    alone.

    Defaults: 2 and 0.12 are the authors' for eight tasks on ViT-B/32, as λ = 1 is theirs. They take 1.5 and 0.16 for
    14 tasks, 1.9 and 0.32 for 20. Tune both on validation data.

    Matrices are the parameters with two dimensions. The authors' code takes the weights of attention and MLP and
    averages the rest; here the positional embedding and the projection count as matrices, too, as for all methods on
    matrices. Attention's queries, keys and values are one stacked matrix, as open_clip stores them;
    `attention: separate` takes them apart.

    Trust region: the mask applies to v. Every entry depends on all of its matrix, so masked task vectors would be
    filled again.

    Cost: two passes over the task vectors; per matrix the eigenvectors of K Gram matrices, of the size of its shorter
    side. In memory are the mean, the result and one task's matrix with its factors, in float64, however many tasks
    there are; threads take as many matrices at once as fit into 256 MiB.
    """
    return each_matrix(
        lambda matrices: _merged(matrices, scale, rank_share),
        task_vectors,
        layout,
        attention,
        bytes_of=lambda parameter: 56 * parameter.size,
    )


def _merged(matrices: TaskMatrices, scale: float, rank_share: float) -> np.ndarray:
    rank, mean = max(1, share_of(rank_share, min(matrices.shape))), matrices.mean()
    merged = mean.copy()
    for matrix in matrices:
        left, values, right = leading(matrix - mean, rank)
        left *= scale * values
        merged += left @ right.T
    return merged
