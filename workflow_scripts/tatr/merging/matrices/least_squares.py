"""Weighted least squares: the V that minimises Σ_k tr (V − D_k) C_k (V − D_k)ᵀ, and what gradient descent passes by.

With C = Σ_k C_k and B = Σ_k D_k C_k, the minimum of least norm is B C†, C† being the pseudo-inverse. Half the gradient
at V is V C − B, so gradient flow from V_0 is at time t at V_0 + (B − V_0 C) Q diag((1 − exp(−λ t))/λ) Qᵀ, with the
eigenvectors Q and eigenvalues λ of C: directions in which the tasks' C_k are large are solved first.

RegMean solves the same problem for Gram matrices of inputs, which are large and measured: `gram_products`, `cholesky`.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tatr.merging.matrices.linear_maps import inputs_of
from tatr.vectors.layout import Parameter

SOUND = 1e-8
"""What is `noise` where the C_k were computed in float64."""


class WeightedSums(NamedTuple):
    """What the tasks come to, float64."""

    weights: np.ndarray
    """C = Σ_k C_k, symmetric, [in, in]."""
    products: np.ndarray
    """B = Σ_k D_k C_k, [out, in]."""


def weighted_sums(shape: tuple[int, int], pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> WeightedSums:
    """C and B of pairs D_k, [out, in] as `shape` says, and C_k, [in, in]; taken one after the other."""
    found = WeightedSums(np.zeros((shape[1], shape[1])), np.zeros(shape))
    for matrix, weights in pairs:
        found.weights[...] += weights
        found.products[...] += matrix @ weights
    return found


def bytes_of(weight: Parameter) -> float:
    """What a merge by weighted sums holds at once: five matrices [in, in] and four of the weight's size, in float64."""
    return 8 * (5 * inputs_of(weight) ** 2 + 4 * weight.size)


def minimum(sums: WeightedSums, start: np.ndarray, noise: float = SOUND) -> np.ndarray:
    """The V nearest to `start` that is a minimum; it stays at `start` in directions that no task weighs.

    Args:
        sums: C and B.
        start: V_0, [out, in].
        noise: share of the largest eigenvalue of C below which a direction counts as one that no task weighs.
    """

    def inverse(values: np.ndarray) -> np.ndarray:
        there = values > noise * values.max(initial=0)
        return np.divide(1, values, out=np.zeros_like(values), where=there)

    return _moved(sums, start, inverse)


def after_descent(sums: WeightedSums, start: np.ndarray, time: float) -> np.ndarray:
    """Where gradient flow of half the loss is at a time, from `start` [out, in] on."""

    def share(values: np.ndarray) -> np.ndarray:
        there = values > 0
        return np.divide(-np.expm1(-values * time), values, out=np.full_like(values, time), where=there)

    return _moved(sums, start, share)


def _moved(sums: WeightedSums, start: np.ndarray, gains: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """V_0 + (B − V_0 C) Q diag(gains(λ)) Qᵀ, with V_0 the start."""
    values, basis = np.linalg.eigh(sums.weights)
    steps = (sums.products - start @ sums.weights) @ basis
    steps *= gains(values)
    return start + steps @ basis.T
