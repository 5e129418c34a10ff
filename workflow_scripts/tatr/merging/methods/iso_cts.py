"""Iso-CTS: Iso-C whose smallest common directions give way to directions that single tasks use."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.matrices.decompositions import Components, leading, orthogonalised
from tatr.merging.matrices.task_matrices import ROUNDING, Attention, TaskMatrices, each_matrix
from tatr.merging.methods import method
from tatr.vectors.layout import Layout
from tatr.vectors.order_statistics import share_of
from tatr.vectors.vector import Vector


@method("Iso-CTS", coefficient=1.5, equal_singular_values=True)
def iso_cts(
    task_vectors: Sequence[Vector],
    layout: Layout,
    *,
    common_space_fraction: Annotated[
        float, Interval(ge=0, le=1), "share of a matrix's directions that are common ones, before rounding"
    ] = 0.8,
    attention: Attention = "stacked",
) -> Iterator[np.ndarray]:
    """v = σ̄ · U⊥ V⊥ᵀ per matrix, of c common directions and q of each task; the mean (1/K) Σ_k Δ_k elsewhere.

    Source: Marczak et al. 2025, "No task left behind: isotropic model merging with common and task-specific subspaces"
    (arXiv 2502.04959). The sum's leading c singular components U_c, σ_c, V_c are the common ones. Of what they leave
    of each task, R_k = Δ_k − U_c U_cᵀ Δ_k, the leading q are its own: U_k, σ_k, V_k. Set side by side, [U_1 … U_K U_c]
    and [V_1 … V_K V_c] are replaced by the nearest matrices with orthonormal columns, U⊥ and V⊥, and σ̄ is the mean of
    all qK + c singular values. With m = min(shape), q = round((m − ⌊common_space_fraction · m⌋)/K) and c = m − qK, so
    there are as many directions as the matrix has; halves are rounded to the even number. Where q = 0 this is Iso-C.

    Defaults: `common_space_fraction` 0.8 is the authors'. They choose λ on validation data between 0.1 and 3, again for
    each backbone and number of tasks; λ = 1.5 is what published comparisons take for ViT-B/32 and eight tasks (1.6 for
    B/16, 1.9 for L/14).

    Matrices are the parameters with two dimensions, as in the authors' code: attention and MLP weights, and also the
    positional embedding and the output projection. Attention's queries, keys and values are one stacked matrix, as
    open_clip stores them; `attention: separate` takes them apart, as codes for Hugging Face's encoders do: another
    method, with other numbers. Everything else, the four-dimensional `conv1.weight` too, is averaged.

    Trust region: the mask applies to v, so that a dropped parameter stays at θ_pre exactly. Masking the task vectors
    before the decomposition would not achieve that, as every entry of v depends on all entries of the matrix.

    Differences from the authors' code: R_k is without the common directions of the outputs, on the left. The projection
    `proj` is stored as [in, out], and their code takes them from its inputs; here it is turned. A task without q
    directions of its own (it left the matrix as it was, or the common ones hold it) gives those it has, and where
    tasks' directions depend on one another, nothing is filled in; their code takes any vectors that the decomposition
    returns, at full strength. With fewer rows or columns than tasks, q is at most ⌊m/K⌋. All is in float64, through
    the smaller Gram matrices where that is safe, as in TSV-M.

    Cost: two passes over the task vectors; per matrix the eigenvectors of K + 3 Gram matrices, of the size of its
    shorter side. In memory are the sum, one task's matrix and min(shape) vectors on either side, in float64, however
    many tasks there are; threads take as many matrices at once as fit into 256 MiB.
    """
    # In float64: the vectors kept on either side, their orthonormal ones, and what it takes to compute one of the four.
    return each_matrix(
        lambda matrices: _merged(matrices, common_space_fraction),
        task_vectors,
        layout,
        attention,
        bytes_of=lambda parameter: 36 * parameter.size,
    )


def own_directions(size: int, tasks: int, common_space_fraction: float) -> int:
    """q, how many directions of each task enter a matrix with min(shape) = `size`; the other size − qK are common."""
    return min(round((size - share_of(common_space_fraction, size)) / tasks), size // tasks)


def _merged(matrices: TaskMatrices, common_space_fraction: float) -> np.ndarray:
    size, count = min(matrices.shape), len(matrices)
    own = own_directions(size, count, common_space_fraction)
    left, values, right = orthogonalised(_directions(matrices, size - own * count, own))
    left *= values.sum() / size
    return left @ right.T


def _directions(matrices: TaskMatrices, common_rank: int, own_rank: int) -> Iterator[Components]:
    """The common ones, then of each task the leading ones of what these leave of it."""
    common = leading(matrices.total(), common_rank)
    yield common
    for matrix in matrices if own_rank else ():
        rest = matrix - common.left @ (common.left.T @ matrix)
        yield leading(rest, own_rank, ROUNDING * float(np.linalg.norm(matrix)))
