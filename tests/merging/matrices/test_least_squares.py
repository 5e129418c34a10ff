"""Weighted least squares against pseudo-inverses, and gradient flow against the exponential of a matrix."""

import numpy as np
import pytest
from scipy.linalg import expm

from tatr.merging.matrices.least_squares import WeightedSums, after_descent, minimum, weighted_sums

RNG = np.random.default_rng(0)


def tasks(rank: int, count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Maps [5, 8], and weights of the given rank."""
    roots = RNG.normal(size=(count, rank, 8))
    return [(RNG.normal(size=(5, 8)), root.T @ root) for root in roots]


def loss(pairs: list[tuple[np.ndarray, np.ndarray]], solution: np.ndarray) -> float:
    return sum(float(np.trace((solution - its) @ weights @ (solution - its).T)) for its, weights in pairs)


def test_the_sums() -> None:
    pairs = tasks(8)
    found = weighted_sums((5, 8), iter(pairs))
    np.testing.assert_allclose(found.weights, sum(weights for _, weights in pairs))
    np.testing.assert_allclose(found.products, sum(its @ weights for its, weights in pairs))
    assert not weighted_sums((5, 8), []).products.any()


@pytest.mark.parametrize("rank", [8, 2, 1])
def test_the_minimum_is_one_and_the_nearest(rank: int) -> None:
    pairs = tasks(rank)
    sums = weighted_sums((5, 8), pairs)
    least = minimum(sums, np.zeros((5, 8)))
    np.testing.assert_allclose(least, sums.products @ np.linalg.pinv(sums.weights, rcond=1e-9), atol=1e-7)
    start = RNG.normal(size=(5, 8))
    found = minimum(sums, start)
    for solution in (least, found):
        for _ in range(20):
            assert loss(pairs, solution + 0.1 * RNG.normal(size=(5, 8))) >= loss(pairs, solution) - 1e-9
    values, basis = np.linalg.eigh(sums.weights)
    unweighted = basis[:, values < 1e-9 * values[-1]]
    np.testing.assert_allclose(found @ unweighted, start @ unweighted, atol=1e-7)


@pytest.mark.parametrize("time", [1e-3, 0.1, 3.0, 1e5])
@pytest.mark.parametrize("rank", [8, 1])
def test_descent_is_gradient_flow(time: float, rank: int) -> None:
    sums, start = weighted_sums((5, 8), tasks(rank)), RNG.normal(size=(5, 8))
    there = minimum(sums, start)
    left = expm(-sums.weights * time) if time < 1e3 else np.zeros((8, 8))
    expected = there + (start - there) @ left
    np.testing.assert_allclose(after_descent(sums, start, time), expected, atol=1e-6)


def test_without_weights_nothing_moves() -> None:
    start, nothing = RNG.normal(size=(5, 8)), WeightedSums(np.zeros((8, 8)), np.zeros((5, 8)))
    np.testing.assert_array_equal(minimum(nothing, start), start)
    np.testing.assert_array_equal(after_descent(nothing, start, 300), start)
