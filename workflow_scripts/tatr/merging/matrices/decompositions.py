"""Singular components and polar factors, from the eigenvectors of the smaller Gram matrix where that is safe.

AᵀA takes one product, and its eigenvectors a third of the time of a full decomposition of A. But it squares singular
values: those below 1e-8 of the largest would drown in the rounding of float64. So the result is checked. If all that
is wanted lies above `SOUND` of the largest, or nothing lies below, it stands. If a few lie below, as in any large
square matrix, what the matrix does to these directions is decomposed by itself. Else the full decomposition is taken.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

SOUND = 1e-4
"""Share of the largest singular value down to which Gram matrices serve: there vectors are orthonormal to 1e-8."""

STEEP = 1e-2
"""Share of the largest singular value up to which those of a tail are decomposed by themselves."""

SMALLEST = 1e-6
"""Share down to which that serves: where STEEP and this meet, vectors are orthonormal to 1e-8 again."""

LONGEST = 1 / 8
"""Share of all singular values that a tail may have."""

FEW = 16
"""One in so many eigenvectors is found sooner by Lanczos' method than by a full decomposition."""


class Components(NamedTuple):
    """Singular components of a matrix [m, n] with their values above zero, the largest first; all float64."""

    left: np.ndarray
    """Orthonormal columns, [m, r]."""
    values: np.ndarray
    """[r]."""
    right: np.ndarray
    """Orthonormal columns, [n, r]."""


def leading(matrix: np.ndarray, rank: int, noise: float = 0) -> Components:
    """The at most `rank` components of the largest singular values; fewer if the others are zero.

    Zero is what a decomposition in float64 can't tell from it: at most max(m, n) · 2.2e-16 of the largest value.

    Args:
        matrix: A, float64 [m, n].
        rank: 0 … min(m, n).
        noise: singular values up to this are zero, too.
    """
    if matrix.shape[0] < matrix.shape[1]:
        left, values, right = leading(matrix.T, rank, noise)
        return Components(right, values, left)
    found = _from_gram(matrix, rank)
    if found is None:
        left, values, right = _decomposed(matrix, rank)
    else:
        _, right = found
        left = matrix @ right
        values = np.linalg.norm(left, axis=0)
        left /= values
    if noise and not (there := values > noise).all():
        return Components(left[:, there], values[there], right[:, there])
    return Components(left, values, right)


def orthogonalised(parts: Iterable[Components]) -> Components:
    """[U_1 … U_K], [σ_1 … σ_K], [V_1 … V_K], with U and V replaced by their polar factors.

    These are the nearest matrices with orthonormal columns. Where columns depend on one another linearly, they are
    partial isometries with the same null space: no direction is filled in.

    Args:
        parts: components of several matrices of one shape.
    """
    left, values, right = (np.hstack(parts) for parts in zip(*parts, strict=True))
    return Components(polar(left)[0], values, polar(right)[0])


def leading_eigenpairs(symmetric: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest eigenvalues of a symmetric matrix [n, n], the largest first, and their vectors [n, count].

    A few of a large matrix are found by products with it alone, as exactly (Lanczos' method, from a fixed start).
    """
    from scipy.sparse.linalg import ArpackError, eigsh  # no part of a light installation

    size = len(symmetric)
    if count and FEW * count <= size:
        start = np.random.default_rng(0).standard_normal(size)
        try:
            values, vectors = eigsh(symmetric, count, which="LA", v0=start)
        except ArpackError:  # values that are all but equal, or all zero
            pass
        else:
            order = np.argsort(-values)
            return values[order], vectors[:, order]
    values, vectors = np.linalg.eigh(symmetric)
    return values[::-1][:count], vectors[:, ::-1][:, :count].copy()  # a slice would keep all vectors in memory


def polar(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U Vᵀ of all components A = U diag(σ) Vᵀ with σ > 0, and these σ.

    U Vᵀ is the nearest matrix with orthonormal columns (rows if A is wide), the solution of the orthogonal Procrustes
    problem; if A is singular, the nearest partial isometry with the same null space.

    Args:
        matrix: A, float64 [m, n].

    Returns:
        U Vᵀ, float64 [m, n]; σ, the largest first.
    """
    if matrix.shape[0] < matrix.shape[1]:
        isometry, values = polar(matrix.T)
        return isometry.T, values
    found = _from_gram(matrix, matrix.shape[1])
    if found is None:
        left, values, right = _decomposed(matrix, matrix.shape[1])
        return left @ right.T, values
    values, right = found
    return matrix @ ((right / values) @ right.T), values


def polar_product(matrix: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U Vᵀ · B and σ, with U Vᵀ as in `polar`, which it does not form: for a B of few columns.

    Args:
        matrix: A, float64 [m, n], m ≥ n.
        other: B, float64 [n, p].

    Returns:
        U Vᵀ B, float64 [m, p]; σ, the largest first.
    """
    found = _from_gram(matrix, matrix.shape[1])
    if found is None:
        left, values, right = _decomposed(matrix, matrix.shape[1])
        return left @ (right.T @ other), values
    values, right = found
    return matrix @ (right @ ((right.T @ other) / values[:, None])), values


def _from_gram(tall: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The leading singular values above zero and their right vectors; None if they can't be told safely this way."""
    squares, basis = np.linalg.eigh(tall.T @ tall)
    squares, basis = squares[: -rank - 1 : -1], basis[:, : -rank - 1 : -1]
    largest = squares.max(initial=0)
    sound = squares > SOUND**2 * largest
    if not sound.all() and np.linalg.norm(tall @ basis[:, ~sound]) > _zero(np.sqrt(largest), tall):
        return _with_tail(tall, squares, basis) if rank == tall.shape[1] else None
    return np.sqrt(squares[sound]), np.ascontiguousarray(basis[:, sound])


def _with_tail(tall: np.ndarray, squares: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """All singular values above zero and their right vectors, where a few are too small to be told by their squares."""
    largest = np.sqrt(squares[0])
    steep = squares <= (STEEP * largest) ** 2
    if steep.sum() > LONGEST * len(squares):
        return None
    _, values, turn = np.linalg.svd(tall @ basis[:, steep], full_matrices=False)
    there = values > _zero(largest, tall)
    if (values[there] < SMALLEST * largest).any():
        return None
    right = np.hstack([basis[:, ~steep], basis[:, steep] @ turn[there].T])
    return np.concatenate([np.sqrt(squares[~steep]), values[there]]), right


def _decomposed(matrix: np.ndarray, rank: int) -> Components:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    rank = min(rank, int((values > _zero(values.max(initial=0), matrix)).sum()))
    # Copies: a slice would keep all vectors in memory.
    return Components(left[:, :rank].copy(), values[:rank], right[:rank].T.copy())


def _zero(largest: float, matrix: np.ndarray) -> float:
    return largest * max(matrix.shape) * float(np.finfo(np.float64).eps)
