"""Iso-C: the summed task vectors with each matrix's singular values made equal."""

from collections.abc import Iterator, Sequence

import numpy as np

from tatr.merging.matrices.decompositions import polar
from tatr.merging.matrices.task_matrices import Attention, TaskMatrices, each_matrix
from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, weighted, with_mean_one
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector


@method("Iso-C", coefficient=1.3, equal_singular_values=True)
def iso_c(
    task_vectors: Sequence[Vector], layout: Layout, weights: Weights = None, *, attention: Attention = "stacked"
) -> Iterator[np.ndarray]:
    """v = σ̄ · U Vᵀ per matrix, where Σ_k Δ_k = U diag(σ) Vᵀ and σ̄ is the mean of σ; the mean (1/K) Σ_k Δ_k elsewhere.

    Source: Marczak et al. 2025, "No task left behind: isotropic model merging with common and task-specific subspaces"
    (arXiv 2502.04959). A sum of task vectors is large in the few directions that tasks share; with equal singular
    values every direction that any task uses counts alike. Their Iso-CTS, which adds task-specific subspaces, is
    `iso_cts`.

    Matrices are the parameters with two dimensions, as in the authors' code: attention and MLP weights, and also the
    positional embedding and the output projection. Attention's queries, keys and values are one stacked matrix, as
    open_clip stores them; `attention: separate` takes them apart. Everything else, the four-dimensional `conv1.weight`
    too, is averaged.

    Defaults: λ = 1.3 is ours. The authors choose it on validation data, again for each backbone and number of tasks.
    Published recipes for eight tasks lie above 1, up to 1.5; search around that.

    Weights: w_k Δ_k takes the place of Δ_k, with the weights scaled to a mean of 1.

    Trust region: the mask applies to v, so that a dropped parameter stays at θ_pre exactly (Eq. 9 of arXiv 2501.15065).
    Masking the task vectors before the decomposition would not achieve that, as every entry of U Vᵀ depends on all
    entries of the matrix, so dropped ones would be filled again. Masked, the singular values of v are equal only
    approximately.

    Differences from the authors' code: where the sum is singular (rows that no task moved, say), U Vᵀ is not unique
    there, and their code fills those directions with any vectors the decomposition returns, at full strength σ̄;
    here they stay zero (σ̄ is still the mean over all singular values). On 768 × 768 matrices a decomposition in float32
    is off by 1.5e-5, relatively, through the small singular values. Here U Vᵀ is the sum times the inverse root of its
    smaller Gram matrix, in float64. Where singular values lie so close to zero (below 1e-4 of the largest) that this
    would lose accuracy, a full decomposition in float64 takes its place. They differ by less than float32 can hold.

    Cost: one pass over the task vectors; per matrix the eigenvectors of its smaller Gram matrix and three products,
    about a third of the time of a decomposition. In memory are the sum of one parameter and its factors, in float64,
    however many tasks there are; threads take as many matrices at once as fit into 256 MiB.
    """
    # In float64: the sum, its factor, and what it takes to compute one of the two.
    task_vectors = weighted(task_vectors, with_mean_one(weights))
    return each_matrix(_isotropic, task_vectors, layout, attention, bytes_of=lambda parameter: 24 * parameter.size)


def _isotropic(matrices: TaskMatrices) -> np.ndarray:
    isometry, values = polar(matrices.total())
    isometry *= values.sum() / min(matrices.shape)
    return isometry
