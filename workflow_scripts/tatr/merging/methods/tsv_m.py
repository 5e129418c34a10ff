"""TSV-M: the leading singular components of every task, made orthogonal to one another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from tatr.merging.matrices.decompositions import leading, orthogonalised
from tatr.merging.matrices.task_matrices import Attention, TaskMatrices, each_matrix
from tatr.merging.methods import method
from tatr.vectors.layout import Layout
from tatr.vectors.order_statistics import share_of
from tatr.vectors.vector import Vector


def _refuses(settings: Mapping[str, Any], tasks: int) -> str | None:
    share = settings["rank_share"]
    if share is None or share * tasks <= 1 + 1e-9:
        return None
    return (
        f"rank_share = {share:g} of {tasks} tasks is more directions than a matrix has; give at most 1/{tasks} = "
        f"{1 / tasks:.4g}, or null for just that"
    )


@method("TSV-M", coefficient=1.0, calibration_alpha=1.0, refuses=_refuses)
def tsv_m(
    task_vectors: Sequence[Vector],
    layout: Layout,
    *,
    rank_share: Annotated[
        float | None, Interval(gt=0, le=1), "share of each task's singular components that is kept; null for 1/K"
    ] = None,
    attention: Attention = "stacked",
) -> Iterator[np.ndarray]:
    """v = U⊥ diag(σ) V⊥ᵀ per matrix, of all tasks' leading singular components; (1/K) Σ_k Δ_k elsewhere.

    Source: Gargiulo et al. 2025, "Task singular vectors: reducing task interference in model merging" (arXiv
    2412.00081). Each task's matrix is Δ_k = U_k diag(σ_k) V_kᵀ. The r largest singular values of each task and their
    vectors are kept and set side by side: U = [U_1 … U_K], σ = [σ_1 … σ_K], V = [V_1 … V_K]. Vectors of different
    tasks are not orthogonal, which is how tasks interfere, so U and V are replaced by the nearest matrices with
    orthonormal columns (orthogonal Procrustes): U⊥ = P Qᵀ, where U = P D Qᵀ is its own decomposition, and V likewise.

    Defaults: r = ⌊min(shape)/K⌋, so that all tasks together have as many directions as the matrix, and λ = 1, are the
    authors'. `rank_share` sets r = max(1, ⌊rank_share · min(shape)⌋) instead; above 1/K the directions could not be
    orthogonal.

    Matrices are the parameters with two dimensions, as in the authors' code: attention and MLP weights, and also the
    positional embedding and the output projection. Attention's queries, keys and values are one stacked matrix, as
    open_clip stores them; `attention: separate` takes them apart. Everything else, the four-dimensional `conv1.weight`
    too, is averaged, and so is a matrix with fewer rows or columns than there are tasks: it has no direction for each
    of them.

    Trust region: the mask applies to v, so that a dropped parameter stays at θ_pre exactly (Eq. 9 of arXiv 2501.15065).
    Masking the task vectors before the decomposition would not achieve that, as every entry of the recombined matrix
    depends on all entries of the task's matrix, so dropped ones would be filled again.

    Differences from the authors' code: it gives zero for a matrix with fewer rows or columns than tasks; it counts
    directions in which nothing happens (singular value zero, as of a task that left the matrix as it was) among those
    to orthogonalise; and where tasks' vectors are linearly dependent (the same task twice) it fills in arbitrary
    directions. Here both are left out, which makes the result unique and independent of the order of tasks.
    On 768 × 768 matrices decompositions in float32 are off by 1.5e-5, relatively. Here vectors come from the smaller
    Gram matrices, in float64. Where singular values lie so close to zero (below 1e-4 of the largest) that this would
    lose accuracy, a full decomposition in float64 takes its place. They differ by less than float32 can hold. Signs of
    singular vectors cancel: they flip a column of U and of V alike.

    Cost: one pass over the task vectors; per matrix the eigenvectors of K + 2 Gram matrices, of the size of its
    shorter side, about a third of the time of as many decompositions. In memory are one task's parameter and
    min(shape) vectors kept on either side, in float64, however many tasks there are; threads take as many matrices at
    once as fit into 256 MiB.
    """
    # In float64: the vectors kept on either side, their orthonormal ones, and what it takes to compute one of the four.
    return each_matrix(
        lambda matrices: _merged(matrices, rank_share), task_vectors, layout, attention, bytes_of=lambda p: 28 * p.size
    )


def _merged(matrices: TaskMatrices, rank_share: float | None) -> np.ndarray:
    size, count = min(matrices.shape), len(matrices)
    if size < count:
        return matrices.mean()
    rank = size // count if rank_share is None else max(1, share_of(rank_share, size))
    left, values, right = orthogonalised(leading(matrix, rank) for matrix in matrices)
    left *= values
    return left @ right.T
