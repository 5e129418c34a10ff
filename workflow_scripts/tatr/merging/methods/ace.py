"""ACE-Merging: regression on inputs whose covariance is guessed from the task vectors."""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Interval

from tatr.merging.matrices.decompositions import leading
from tatr.merging.matrices.least_squares import bytes_of, weighted_sums
from tatr.merging.matrices.task_matrices import ROUNDING, Attention, TaskMatrices, each_matrix
from tatr.merging.methods import method
from tatr.vectors.layout import Layout
from tatr.vectors.order_statistics import share_of
from tatr.vectors.vector import Vector


@method("ACE-Merging", coefficient=1.0)
def ace(
    task_vectors: Sequence[Vector],
    layout: Layout,
    *,
    ridge: Annotated[float, Interval(gt=0), "ε, added to the diagonal of each task's covariance"] = 0.01,
    heterogeneity: Annotated[float, Interval(ge=0), "γ above which covariances are normalised and v refined"] = 0.3,
    rank_share: Annotated[float, Interval(gt=0, le=1), "share of singular components that the refinement takes"] = 0.3,
    attention: Attention = "stacked",
) -> Iterator[np.ndarray]:
    """v = (Σ_k D_k Ŝ_k) (Σ_k Ŝ_k + 1 cᵀ)⁻¹ per matrix, Ŝ_k = D_kᵀ D_k + ε I for centred D_k; the mean elsewhere.

    Source: Xu et al. 2026, "ACE-Merging: data-free model merging with adaptive covariance estimation" (arXiv
    2603.02945), as the authors' code has it. RegMean's regression needs the covariance of each map's inputs. After a
    short fine-tuning that of the task vector's rows resembles it, and no images are needed.

    D_k is Δ_k minus the mean of its rows, S_k = D_kᵀ D_k, Ŝ_k = S_k + ε I, and c the mean of the rows of Σ_k S_k; 1 cᵀ
    adds it to every row. γ = var(log ‖Δ_k‖²)/mean(log ‖Δ_k‖²)² tells how much tasks differ in size; the variance is the
    unbiased one. Where γ is above `heterogeneity`, S_k and ε are divided by the trace of S_k, and c by the mean of
    ‖Δ_k‖². The result, W, is then refined: F = W + Σ_k Δ_k (S_k − Ŝ̄), with Ŝ̄ the mean of Ŝ_k, and v = W + σ̄ U_r V_rᵀ,
    with the leading r = max(1, ⌊rank_share · min(shape)⌋) singular vectors of F and the mean σ̄ of their values.

    Defaults: 0.01, 0.3 and 0.3 are those of the authors' code, as λ = 1 is theirs. `ridge` has the unit of a squared
    task vector, and γ depends on that unit, too, so both may need other values for other encoders; γ makes a jump. If
    a task hardly changed a matrix, ε over its trace is large, and v with it; a higher `heterogeneity` prevents that.

    Matrices are the parameters with two dimensions, as in the authors' code: attention and MLP weights, and also the
    positional embedding and the output projection. The projection, stored as [in, out], is turned, which their code
    does not. Attention's queries, keys and values are one stacked matrix, as open_clip stores them;
    `attention: separate` takes them apart. Everything else is averaged.

    Trust region: the mask applies to v. Every entry depends on all of its matrix, so masked task vectors would be
    filled again.

    Differences from the authors' code: a task with D_k = 0, to float32's rounding, is left out of a matrix. It left the
    matrix as it was, or changed all of its rows alike, so no covariance can be guessed, and with the trace of S_k going
    to zero v would grow without bound. A matrix that no task is left for, of a single row for instance, is averaged.
    All is in float64.

    Cost: two passes over the task vectors, a third where v is refined; per matrix 2K products and one system of
    equations [in, in], and a decomposition where v is refined. In memory are five matrices [in, in] and four of the
    weight's size, in float64; threads take as many matrices at once as fit into 256 MiB.
    """
    settings = _Settings(ridge, heterogeneity, rank_share)
    return each_matrix(lambda matrices: _merged(matrices, settings), task_vectors, layout, attention, bytes_of=bytes_of)


class _Settings(NamedTuple):
    ridge: float
    heterogeneity: float
    rank_share: float


class _Covariance(NamedTuple):
    """Of one task: Δ_k and D_k, [out, in]; S_k, [in, in]; and what is added to the diagonal of S_k."""

    matrix: np.ndarray
    centred: np.ndarray
    covariance: np.ndarray
    ridge: float

    @property
    def regular(self) -> np.ndarray:
        """Ŝ_k."""
        return self.covariance + self.ridge * np.eye(len(self.covariance))


def _merged(matrices: TaskMatrices, settings: _Settings) -> np.ndarray:
    squares = np.array([np.vdot(matrix, matrix) for matrix, _ in _counting(matrices)])
    if not len(squares):
        return matrices.mean()
    differ = _heterogeneity(squares) > settings.heterogeneity
    common = np.zeros(matrices.shape[1])

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for task in _covariances(matrices, settings.ridge, differ):
            common[...] += task.covariance.mean(axis=0)
            yield task.centred, task.regular

    sums = weighted_sums(matrices.shape, pairs())
    common /= squares.mean() if differ else 1
    found = _solved(sums.weights + common, sums.products)
    if not differ:
        return found
    mean = sums.weights / len(squares)
    refined = found.copy()
    for task in _covariances(matrices, settings.ridge, differ):
        refined += task.matrix @ (task.covariance - mean)
    left, values, right = leading(refined, max(1, share_of(settings.rank_share, min(matrices.shape))))
    return found + values.mean() * (left @ right.T) if len(values) else found


def _solved(system: np.ndarray, products: np.ndarray) -> np.ndarray:
    """The V with V · system = products, which need not be symmetric; of least norm if the system is singular."""
    # As it is where two inputs have equal columns in all D_k and the ridge is below rounding.
    try:
        return np.linalg.solve(system.T, products.T).T
    except np.linalg.LinAlgError:
        return products @ np.linalg.pinv(system)


def _heterogeneity(squares: np.ndarray) -> float:
    """γ of ‖Δ_k‖²."""
    logarithms = np.log(squares)
    if len(logarithms) < 2:
        return 0.0
    return float(logarithms.var(ddof=1) / (logarithms.mean() ** 2 + 1e-12))


def _covariances(matrices: TaskMatrices, ridge: float, normalised: bool) -> Iterator[_Covariance]:
    for matrix, centred in _counting(matrices):
        covariance = centred.T @ centred
        trace = float(covariance.trace()) if normalised else 1.0
        yield _Covariance(matrix, centred, covariance / trace, ridge / trace)


def _counting(matrices: TaskMatrices) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Δ_k and D_k of the tasks whose D_k is not zero."""
    for matrix in matrices:
        centred = matrix - matrix.mean(axis=0)
        if np.linalg.norm(centred) > ROUNDING * np.linalg.norm(matrix):
            yield matrix, centred
