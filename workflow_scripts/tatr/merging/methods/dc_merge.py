"""DC-Merge: every task's leading components, seen in one common basis, where their largest coordinates are averaged."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.matrices.decompositions import leading, orthogonalised
from tatr.merging.matrices.task_matrices import Attention, TaskMatrices, each_matrix
from tatr.merging.methods import method
from tatr.vectors.layout import Layout
from tatr.vectors.order_statistics import share_of
from tatr.vectors.vector import Vector
from tatr.vectors.votes import Votes


@method("DC-Merge", coefficient=1.0)
def dc_merge(
    task_vectors: Sequence[Vector],
    layout: Layout,
    *,
    density: Annotated[
        float, Interval(gt=0, le=1), "share of each task's coordinates that is kept, the largest"
    ] = 0.001,
    attention: Attention = "stacked",
) -> Iterator[np.ndarray]:
    """v = U⊥ M V⊥ᵀ per matrix, with M the tasks' coordinates in these bases, merged; (1/K) Σ_k Δ_k elsewhere.

    Source: Zhang et al. 2026, "DC-Merge: improving model merging with directional consistency" (arXiv 2603.06242), as
    its code has it for models that were fine-tuned as a whole; for adapters it smooths singular values first.

    Of each task's matrix the r = ⌊min(shape)/K⌋ leading singular components U_k, σ_k, V_k are kept. [U_1 … U_K] and
    [V_1 … V_K] are replaced by the nearest matrices with orthonormal columns, U⊥ and V⊥, as in TSV-M. In these bases
    task k has the coordinates M_k = U⊥ᵀ U_k diag(σ_k) V_kᵀ V⊥. The ⌊density · min(shape)²⌋ largest of them stay, but at
    least one, and all that equal the smallest that stays. M is, entry by entry, the mean over the tasks whose entry has
    the sign of the tasks' sum, 0 where that is zero. Of M only the K blocks on the diagonal stay, where a task's own
    components meet.

    Defaults: `density` 0.001 is the authors'. They choose λ on validation data between 0.1 and 3; 1 is ours.

    Matrices are the parameters with two dimensions, as in the authors' code: attention and MLP weights, and also the
    positional embedding and the output projection. Attention's queries, keys and values are one stacked matrix, as
    open_clip stores them; `attention: separate` takes them apart. Everything else is averaged, and so is a matrix with
    fewer rows or columns than there are tasks.

    Trust region: the mask applies to v. Every entry depends on all of its matrix, so masked task vectors would be
    filled again.

    Differences from the authors' code: it gives zero for a matrix with fewer rows or columns than tasks, and fills both
    bases with arbitrary vectors where components are missing (a task that left the matrix as it was) or depend on one
    another. Here these are left out. All is in float64, through the smaller Gram matrices where that is safe.

    Cost: one pass over the task vectors; per matrix the eigenvectors of K + 2 Gram matrices, of the size of its shorter
    side, and K products. In memory are min(shape) vectors on either side, twice, and five matrices of min(shape)²,
    in float64; threads take as many matrices at once as fit into 256 MiB.
    """
    return each_matrix(
        lambda matrices: _merged(matrices, density),
        task_vectors,
        layout,
        attention,
        bytes_of=lambda parameter: 36 * parameter.size + 40 * min(parameter.shape) ** 2,
    )


def _merged(matrices: TaskMatrices, density: float) -> np.ndarray:
    size, count = min(matrices.shape), len(matrices)
    if size < count:
        return matrices.mean()
    parts = [leading(matrix, size // count) for matrix in matrices]
    left, values, right = orthogonalised(parts)
    votes, kept = Votes((len(values), len(values))), max(1, share_of(density, size**2))
    for part in parts:
        votes.add(_largest((left.T @ part.left * part.values) @ (part.right.T @ right), kept))
    total = votes.total()
    owners = np.repeat(np.arange(count), [len(part.values) for part in parts])
    coordinates = votes.means(total > 0) * (total != 0) * (owners[:, None] == owners)
    return left @ coordinates @ right.T


def _largest(entries: np.ndarray, count: int) -> np.ndarray:
    """The same, but 0 at all but the `count` entries of largest magnitude."""
    if count >= entries.size:
        return entries
    magnitudes = np.abs(entries)
    smallest = np.partition(magnitudes, entries.size - count, axis=None)[entries.size - count]
    return entries * (magnitudes >= smallest)
