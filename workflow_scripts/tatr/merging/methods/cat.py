"""CAT Merging: of every task vector, what disturbs another task more than it helps its own is taken out."""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Interval

from tatr.merging.matrices.decompositions import leading, leading_eigenpairs
from tatr.merging.matrices.linear_maps import inputs_of, is_linear_map, is_scale
from tatr.merging.matrices.measured_tasks import MeasuredTasks, each_measured
from tatr.merging.methods import method
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector

ROUNDING = 1e-6
"""Share of what was added and subtracted up to which a difference may be the rounding of Gram matrices to float32."""


@method("CAT Merging", coefficient=0.4)
def cat(
    task_vectors: Sequence[Vector],
    layout: Layout,
    grams: Sequence[Vector],
    *,
    exemplars: Annotated[int, Interval(ge=1), "training images per task that inputs are measured on"] = 64,
    trimmed: Annotated[int, Interval(ge=0), "directions, or entries, that each task takes out of all others"] = 4,
    own_loss: Annotated[float, Interval(ge=0), "weight of what the trimmed tasks themselves lose, linear maps"] = 5.0,
    own_loss_of_scales: Annotated[float, Interval(ge=0), "the same, scales of norms"] = 10.0,
) -> Iterator[np.ndarray]:
    """v = Σ_i (Δ_i − Δ_i B Bᵀ) for linear maps, B where Δ_i disturbs others; norms and biases trimmed; Σ_i Δ_i else.

    Source: Sun et al. 2025, "CAT Merging: a training-free approach for resolving conflicts in model merging" (arXiv
    2505.06977, ICML 2025). Task k is disturbed by Σ_{i≠k} Δ_iᵀ G_k Δ_i, with G_k = X_kᵀ X_k of the inputs that the map
    has in model θ_k on task k's images; trimming it costs the others Σ_{i≠k} Δ_iᵀ G_i Δ_i. B_k are the `trimmed`
    leading eigenvectors, of eigenvalues above 0, of S_k = Σ_{i≠k} Δ_iᵀ (G_k − own_loss · G_i) Δ_i. The columns of B are
    a basis of the B_k of all k ≠ i. Of a norm's scale the others lose, for task k, the `trimmed` entries of largest
    Σ_{i≠k} Δ_i² (s_k − own_loss_of_scales · s_i), where above 0, with s_k the mean square of the normalised input; of a
    bias or a norm's shift, those of largest Σ_{i≠k} Δ_i². Embeddings are added up as they are. No label is read.

    Defaults: neither `trimmed` = 4, λ = 0.4 nor the weights 5 and 10 could be confirmed from the paper; they, and the
    formulas, come from a port that quotes the authors' code. 64 exemplars are those of LOT Merging, which so shares
    the measurement.

    Linear maps are all of the image encoder's: patch embedding (of windows), attention's in_proj and out_proj, both of
    the MLP, and the projection. Attention's queries, keys and values are one map, stacked.

    Trust region: the mask multiplies v. A projection mixes the entries of a map and would fill masked ones again.

    Differences from the port: it projects and trims task after task, so that their order counts; here all B_k of the
    other tasks are projected out of a task at once, and any order gives the same. It measures inputs at θ_pre + λ Δ_k,
    here at θ_k; scales what it trimmed back to its former norm; squares a shift's own entries instead of the others';
    and takes the first columns of an ascending decomposition, which are the smallest eigenvalues.

    Cost: K² products D G Dᵀ per linear map, of whose sums the leading eigenvectors are found by Lanczos' method, and
    K + 2 passes over the task vectors; with eight tasks the most of all methods without learning. In memory are four
    matrices [out, out], two [in, in] and four of the weight's size, in float64, however many tasks there are; threads
    take as many maps at once as fit into 256 MiB.
    """
    # `exemplars` is a setting of the stage that measures `grams`; here they have been measured.
    limits = _Limits(trimmed, own_loss, own_loss_of_scales)
    return each_measured(lambda tasks: _merged(tasks, limits), task_vectors, layout, grams, bytes_of=_bytes)


class _Limits(NamedTuple):
    trimmed: int
    own_loss: float
    own_loss_of_scales: float


def _merged(tasks: MeasuredTasks, limits: _Limits) -> np.ndarray:
    name = tasks.parameter.name
    if is_linear_map(tasks.parameter):
        return tasks.entries(_projected(tasks, limits))
    if is_scale(tasks.parameter):
        return _trimmed(tasks, limits, [tasks.moments(task) for task in range(len(tasks))])
    return _trimmed(tasks, limits) if name.endswith("bias") else tasks.total()


def _projected(tasks: MeasuredTasks, limits: _Limits) -> np.ndarray:
    """Σ_i (I − B Bᵀ) D_i, where the columns of B span all B_k with k ≠ i."""
    bases = _disturbed(tasks, limits)
    total = np.zeros(tasks.shape)
    for task in range(len(tasks)):
        others = np.hstack([np.zeros((tasks.shape[0], 0)), *bases[:task], *bases[task + 1 :]])
        matrix, span = tasks.matrix(task), leading(others, min(others.shape), ROUNDING).left
        total += matrix - span @ (span.T @ matrix)
    return total


def _disturbed(tasks: MeasuredTasks, limits: _Limits) -> list[np.ndarray]:
    """B_k of each task, [out, at most `trimmed`]."""
    outputs, bases = tasks.shape[0], list[np.ndarray]()
    own = np.zeros((outputs, outputs))
    for task in range(len(tasks)):
        own += _shifts(tasks, task, tasks.moments(task))
    for disturbed in range(len(tasks)):
        moments, sums = tasks.moments(disturbed), np.zeros((outputs, outputs))
        for task in range(len(tasks)):
            # The task's own part of `own` is no loss of others.
            sums += (limits.own_loss if task == disturbed else 1.0) * _shifts(tasks, task, moments)
        noise = ROUNDING * (sums.trace() + limits.own_loss * own.trace())
        sums -= limits.own_loss * own
        values, basis = leading_eigenpairs(sums, min(limits.trimmed, outputs))
        bases.append(basis[:, values > noise])
    return bases


def _shifts(tasks: MeasuredTasks, task: int, moments: np.ndarray) -> np.ndarray:
    """D_i G D_iᵀ, [out, out]: second moments of what task i's change does to outputs, for inputs of moments G."""
    matrix = tasks.matrix(task)
    return matrix @ moments @ matrix.T


def _trimmed(tasks: MeasuredTasks, limits: _Limits, moments: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Σ_i Δ_i of a vector's entries, without those that disturb other tasks most; a shift's entries have no moments."""
    changes = np.stack([tasks.change(task) for task in range(len(tasks))])
    kept = np.ones(changes.shape, bool)
    for disturbed in range(len(tasks)):
        others = [task for task in range(len(tasks)) if task != disturbed]
        scores = np.zeros(changes.shape[1])
        for task in others:
            gain = moments[disturbed] - limits.own_loss_of_scales * moments[task] if len(moments) else 1.0
            scores += changes[task] ** 2 * gain
        largest = np.argsort(-scores, kind="stable")[: limits.trimmed]
        for task in others:
            kept[task, largest[scores[largest] > 0]] = False
    return np.where(kept, changes, 0).sum(axis=0)


def _bytes(weight: Parameter) -> float:
    inputs = inputs_of(weight)
    return 8 * (4 * (weight.size // inputs) ** 2 + 2 * inputs**2 + 4 * weight.size)
