"""ESM: every task's leading directions of what its change does to outputs, made orthogonal to one another."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.matrices.decompositions import leading, orthogonalised, polar, polar_product
from tatr.merging.matrices.linear_maps import inputs_of
from tatr.merging.matrices.measured_tasks import MeasuredTasks, each_measured
from tatr.merging.matrices.task_matrices import is_matrix
from tatr.merging.methods import method
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector

ESSENTIAL = ("attn.in_proj_weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
"""How weights are called whose directions come from images; one kind of layer each."""

KINDS = (*ESSENTIAL, "attn.out_proj.weight")
"""Kinds of layers that are scaled against one another over the blocks."""

SPREAD = 0.15
"""The exponent by which directions count, of their eigenvalues."""

NOISE = float(np.finfo(np.float32).eps)
"""Share of the largest eigenvalue up to which one may be the rounding of Gram matrices to float32."""


@method("ESM", coefficient=1.0, equal_singular_values=True)
def esm(
    task_vectors: Sequence[Vector],
    layout: Layout,
    grams: Sequence[Vector],
    *,
    exemplars: Annotated[int, Interval(ge=1), "training images per task that inputs are measured on"] = 32,
) -> Iterator[np.ndarray]:
    """v = 2 σ̄(P) σ̄(A) · P⊥ A⊥ for in_proj, c_fc and c_proj, then scaled; TSV-M for other matrices, the mean elsewhere.

    Source: Li et al. 2026, "Essential subspace merging for multi-task learning" (arXiv 2606.19164; before, "Model
    merging in the essential subspace", CVPR 2026, arXiv 2602.20208), as its code has it. P_k are the directions in
    which task k's change D_k moves the outputs most on its own images: the leading r = ⌊out/K⌋ eigenvectors of
    D_k G_k D_kᵀ, with G_k = X_kᵀ X_k of the inputs in model θ_k; A_k = P_kᵀ D_k. Directions count by their eigenvalues
    μ, e = (μ/μ̄)^0.15 over its mean, in P_k and in A_k; tasks by (‖D_k‖/mean)², in A_k. Set side by side,
    P = [P_1 … P_K] and A = [A_1; … A_K], whose columns then count by (their norm/mean)². P⊥ and A⊥ are the nearest
    matrices with orthonormal columns, or rows, and σ̄ the means of the singular values. At last each layer's v is
    multiplied by (‖v‖/mean)², the mean over all blocks' layers of that kind, attention's output among the kinds.

    Defaults: 32 exemplars are the authors'. They choose λ on validation data between 0.1 and 3, and so should you; 1 is
    ours, and too much for the embedded benchmark, where 0.3 was best.

    Matrices are the parameters with two dimensions. Attention's queries, keys and values are one, stacked. Everything
    else is averaged, and so is a matrix with fewer rows or columns than there are tasks.

    Trust region: the mask multiplies v. Every entry depends on all of its matrix, so masked task vectors would be
    filled again.

    Differences from the authors' code: it takes images of the validation split, here they are training images. It fills
    P_k with unit vectors where there are fewer tokens than outputs, which are not orthogonal and count in its ‖A_k‖;
    here ‖D_k‖ is in that place, and directions that images don't move, or a task that left the matrix as it was, are
    left out. On random matrices with more tokens than outputs both agree to float32's rounding. The CVPR paper has
    neither e nor the factors of P⊥ A⊥.

    Cost: per matrix two decompositions of its shorter side for each task and two of the stacked directions; all of it
    twice, as layers' norms must be known before the first is scaled. In memory are ten matrices [out, out], one
    [in, in] and six of the weight's size, in float64; threads take as many matrices at once as fit into 256 MiB.
    """
    # `exemplars` is a setting of the stage that measures `grams`; here they have been measured.
    factors = _factors(task_vectors, layout, grams)
    return each_measured(
        lambda tasks: factors.get(tasks.parameter.name, 1.0) * _merged(tasks),
        task_vectors,
        layout,
        grams,
        bytes_of=_bytes,
    )


def _factors(task_vectors: Sequence[Vector], layout: Layout, grams: Sequence[Vector]) -> dict[str, float]:
    """What each layer's v is multiplied by: (‖v‖/mean)² over the blocks' layers of its kind."""
    norms = dict[str, float]()

    def measure(tasks: MeasuredTasks) -> np.ndarray:
        if tasks.parameter.name.endswith(KINDS):
            norms[tasks.parameter.name] = float(np.linalg.norm(_merged(tasks)))
        return np.zeros(tasks.parameter.size)

    for _ in each_measured(measure, task_vectors, layout, grams, bytes_of=_bytes):
        pass
    factors = dict[str, float]()
    for kind in KINDS:
        of_kind = {name: norm for name, norm in norms.items() if name.endswith(kind)}
        mean = sum(of_kind.values()) / max(1, len(of_kind)) or 1.0
        factors |= {name: (norm / mean) ** 2 for name, norm in of_kind.items()}
    return factors


def _merged(tasks: MeasuredTasks) -> np.ndarray:
    """v at a parameter, before layers are scaled."""
    parameter, count = tasks.parameter, len(tasks)
    if not is_matrix(parameter) or min(parameter.shape) < count:
        return tasks.total() / count
    if parameter.name.endswith(ESSENTIAL):
        return tasks.entries(_essential(tasks))
    changes = (tasks.change(task).reshape(parameter.shape) for task in range(count))
    left, values, right = orthogonalised(leading(change, min(parameter.shape) // count) for change in changes)
    return (left * values @ right.T).reshape(-1)


def _essential(tasks: MeasuredTasks) -> np.ndarray:
    lefts, rights, norms = list[np.ndarray](), list[np.ndarray](), list[float]()
    for task in range(len(tasks)):
        matrix = tasks.matrix(task)
        basis, values = _principal(matrix, tasks.moments(task), tasks.shape[0] // len(tasks))
        if not len(values):
            continue
        weights = (values / values.mean()) ** SPREAD
        weights /= weights.mean()
        norms.append(float(np.linalg.norm(matrix)))
        lefts.append(basis * weights)
        rights.append((norms[-1] ** 2 * weights)[:, None] * (basis.T @ matrix))
    if not norms:
        return np.zeros(tasks.shape)
    stacked = np.vstack(rights) / np.mean(norms) ** 2
    columns = np.linalg.norm(stacked, axis=0)
    right, right_values = polar(stacked * (columns / columns.mean()) ** 2)
    left = np.hstack(lefts)
    lefts.clear()  # all of them are as large as `left`
    merged, left_values = polar_product(left, right)
    merged *= 2 * left_values.mean() * right_values.mean()
    return merged


def _principal(matrix: np.ndarray, moments: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The at most `rank` leading eigenvectors of D G Dᵀ, [out, r], and their values, above zero, [r]."""
    left, values, right = leading(matrix, min(matrix.shape))
    root = right * values  # so that D = left rootᵀ, and the eigenproblem is one of the shorter side
    strengths, basis = np.linalg.eigh(root.T @ moments @ root)
    count = min(rank, int((strengths > NOISE * strengths.max(initial=0)).sum()))
    return left @ basis[:, ::-1][:, :count], strengths[::-1][:count]


def _bytes(weight: Parameter) -> float:
    inputs = inputs_of(weight)
    return 8 * (10 * (weight.size // inputs) ** 2 + inputs**2 + 6 * weight.size)
