"""Cholesky's decomposition in place against LAPACK's, across its steps."""

import numpy as np
import pytest

from tatr.merging.matrices import cholesky
from tatr.merging.matrices.cholesky import factorise, mirror, solve


def system(size: int) -> np.ndarray:
    rows = np.random.default_rng(size).normal(size=(size, size + 5))
    return rows @ rows.T


@pytest.mark.parametrize("size", [1, 7, 8, 9, 40])
def test_it_solves_and_leaves_the_upper_triangle(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "STEP", 8)
    matrix, sides = system(size), np.random.default_rng(0).normal(size=(size, 19))
    factor, solution = matrix.copy(), sides.copy()
    assert factorise(factor)
    np.testing.assert_allclose(np.tril(factor), np.linalg.cholesky(matrix), atol=1e-10)
    np.testing.assert_array_equal(np.triu(factor, 1), np.triu(matrix, 1))
    solve(factor, solution)
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, sides), rtol=1e-6, atol=1e-8)
    mirror(factor)
    np.fill_diagonal(factor, matrix.diagonal())
    np.testing.assert_allclose(factor, matrix, atol=1e-12)


@pytest.mark.parametrize("place", [0, 12, 39])
def test_an_indefinite_matrix_is_refused(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholesky, "STEP", 8)
    matrix = system(40)
    matrix[place, place] = -1
    assert not factorise(matrix)
