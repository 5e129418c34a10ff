"""Components and polar factors against full decompositions, also where Gram matrices can't tell them."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse.linalg

from tatr.merging.matrices import decompositions
from tatr.merging.matrices.decompositions import (
    leading,
    leading_eigenpairs,
    orthogonalised,
    polar,
    polar_product,
)

RNG = np.random.default_rng(0)


def with_values(rows: int, columns: int, values: np.ndarray) -> np.ndarray:
    """A matrix with the given singular values, as many as min(shape)."""
    left, right = (np.linalg.qr(RNG.normal(size=(size, len(values))))[0] for size in (rows, columns))
    return left * values @ right.T


def zero_rows() -> np.ndarray:
    matrix = RNG.normal(size=(60, 40))
    matrix[10:50] = 0
    return matrix


MATRICES: dict[str, Callable[[], np.ndarray]] = {
    "tall": lambda: RNG.normal(size=(90, 40)),
    "wide": lambda: RNG.normal(size=(30, 70)),
    "square": lambda: RNG.normal(size=(50, 50)),
    "one": lambda: RNG.normal(size=(1, 1)),
    "row": lambda: RNG.normal(size=(1, 9)),
    "low rank": lambda: RNG.normal(size=(60, 5)) @ RNG.normal(size=(5, 50)),
    "zero rows": zero_rows,
    "steep": lambda: with_values(60, 40, np.logspace(0, -9, 40)),
    "steep and wide": lambda: with_values(40, 60, np.logspace(0, -9, 40)),
    "a step": lambda: with_values(60, 40, np.r_[np.ones(20), np.full(20, 1e-7)]),
    "a tail": lambda: with_values(90, 80, np.r_[np.linspace(2, 1, 74), 1e-2, 1e-3, 1e-4, 1e-5, 4e-6, 3e-6]),
    "a tail and nothing": lambda: with_values(80, 80, np.r_[np.ones(76), 1e-5, 2e-6, 0, 0]),
    "too long a tail": lambda: with_values(80, 80, np.r_[np.ones(60), np.full(20, 1e-5)]),
    "too low a tail": lambda: with_values(80, 80, np.r_[np.ones(78), 1e-5, 1e-7]),
    "tiny": lambda: RNG.normal(size=(20, 30)) * 1e-30,
    "equal values": lambda: with_values(60, 40, np.ones(40)),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_polar_factor_is_that_of_the_full_decomposition(name: str) -> None:
    matrix = MATRICES[name]()
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    there = values > values[0] * max(matrix.shape) * np.finfo(np.float64).eps
    isometry, found = polar(matrix)
    np.testing.assert_allclose(found, values[there], rtol=1e-7)
    np.testing.assert_allclose(isometry, left[:, there] @ right[there], atol=1e-6)


@pytest.mark.parametrize("rank", [1, 5, 30])
@pytest.mark.parametrize("name", MATRICES)
def test_leading_components_are_orthonormal_and_give_the_best_approximation(name: str, rank: int) -> None:
    matrix = MATRICES[name]()
    rank = min(rank, *matrix.shape)
    values = np.linalg.svd(matrix, compute_uv=False)
    left, found, right = leading(matrix, rank)
    there = min(rank, int((values > values[0] * max(matrix.shape) * np.finfo(np.float64).eps).sum()))
    np.testing.assert_allclose(found, values[:there], rtol=1e-7)
    for vectors in (left, right):
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(there), atol=1e-7)
    rest = np.linalg.norm(matrix - left * found @ right.T)
    assert rest == pytest.approx(np.linalg.norm(values[there:]), rel=1e-7, abs=1e-12 * values[0])


def test_of_a_zero_matrix_nothing_is_there() -> None:
    zero = np.zeros((5, 3))
    isometry, values = polar(zero)
    assert isometry.shape == (5, 3)
    assert not isometry.any()
    assert len(values) == 0
    assert [part.shape for part in leading(zero, 2)] == [(5, 0), (0,), (3, 0)]
    assert polar(np.empty((5, 0)))[0].shape == (5, 0)


@pytest.mark.parametrize("name", MATRICES)
def test_components_up_to_the_noise_are_left_out(name: str) -> None:
    matrix = MATRICES[name]()
    values = np.linalg.svd(matrix, compute_uv=False)
    noise = 0.3 * values[0]
    found = leading(matrix, min(matrix.shape), noise)
    assert len(found.values) == found.left.shape[1] == found.right.shape[1] == (values > noise).sum()


def test_stacked_vectors_become_orthonormal_together() -> None:
    parts = [leading(RNG.normal(size=(30, 20)), rank) for rank in (4, 0, 7)]
    left, values, right = orthogonalised(parts)
    assert values.tolist() == [*parts[0].values, *parts[2].values]
    for found, stacked in ((left, [part.left for part in parts]), (right, [part.right for part in parts])):
        basis, _, rotation = np.linalg.svd(np.hstack(stacked), full_matrices=False)
        np.testing.assert_allclose(found, basis @ rotation, atol=1e-9)
    # Of the same directions twice each counts half: nothing is filled in.
    left, values, right = orthogonalised([parts[0], parts[0]])
    np.testing.assert_allclose(left @ right.T, parts[0].left @ parts[0].right.T, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("tall", False),
        ("zero rows", False),
        ("zero", False),
        ("steep", True),
        ("a tail", False),
        ("a tail and nothing", False),
        ("too long a tail", True),
        ("too low a tail", True),
    ],
)
def test_the_full_decomposition_is_taken_where_values_are_too_small_to_tell(
    name: str, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    decomposed = decompositions._decomposed
    monkeypatch.setattr(decompositions, "_decomposed", lambda *given: calls.append(given) or decomposed(*given))
    polar(MATRICES[name]() if name in MATRICES else np.zeros((4, 3)))
    assert bool(calls) == full


@pytest.mark.parametrize("converges", [True, False])
@pytest.mark.parametrize(("size", "count"), [(200, 4), (200, 1), (60, 4), (5, 5), (1, 1), (40, 0)])
def test_the_leading_eigenpairs_are_those_of_a_full_decomposition(
    size: int, count: int, converges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise scipy.sparse.linalg.ArpackNoConvergence("too close together", np.empty(0), np.empty((0, 0)))

    if not converges:
        monkeypatch.setattr(scipy.sparse.linalg, "eigsh", fail)
    rng = np.random.default_rng(size)
    basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
    stated = np.sort(rng.standard_normal(size) ** 3)[::-1]
    values, vectors = leading_eigenpairs(basis * stated @ basis.T, count)
    np.testing.assert_allclose(values, stated[:count], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.abs(basis[:, :count].T @ vectors), np.eye(size)[:count, :count], atol=1e-6)


@pytest.mark.parametrize("matrix", [np.zeros((100, 100)), -np.eye(100), np.diag(np.r_[1.0, np.zeros(99)])])
def test_of_equal_eigenvalues_any_vectors_serve(matrix: np.ndarray) -> None:
    values, vectors = leading_eigenpairs(matrix, 4)
    np.testing.assert_allclose(values, np.sort(np.diagonal(matrix))[::-1][:4], atol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, make in MATRICES.items() if make().shape[0] >= make().shape[1]])
def test_a_polar_factor_s_product_is_the_product_with_it(name: str) -> None:
    matrix = MATRICES[name]()
    other = RNG.normal(size=(matrix.shape[1], 3))
    isometry, values = polar(matrix)
    product, found = polar_product(matrix, other)
    np.testing.assert_allclose(product, isometry @ other, atol=1e-7)
    np.testing.assert_allclose(found, values)
