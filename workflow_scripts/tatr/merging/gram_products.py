"""Sums of products of Gram matrices, at the price of float32 and nearly as good as in float64.

A Gram matrix is large in a few directions that all inputs share (their mean, channels that stick out), and a product in
float32 is off by a share of what is largest. A low-rank part G·Ω (Ωᵀ·G·Ω)⁻¹ Ωᵀ·G, for a few random directions Ω, takes
most of that out. It is multiplied in float64, which costs little, and only the rest in float32.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from tatr.vectors.threads import in_order

RANK = 8
"""Directions that are multiplied in float64."""

PROBES = 4
"""Random combinations of a map's outputs for which everything is computed in float64, to know the error of all."""

ROWS = 128
"""Of a Gram matrix, handled at once: one thread's share."""

Pairs = Iterable[tuple[np.ndarray, np.ndarray]]
"""Per task: its Gram matrix G_k, float32 [in, in], and a map M_k, float64 [in, out]."""


class Sums(NamedTuple):
    """Σ_k G'_k and Σ_k G'_k·M_k, where G'_k is G_k with smaller off-diagonal entries."""

    grams: np.ndarray
    """Float64 [in, in]."""
    products: np.ndarray
    """Float64 [in, out]."""
    errors: np.ndarray
    """What is missing to `products`, times random signs, float64 [in, PROBES]: each row's mean square is that of the
    row's whole error, on average."""


def sums(pairs: Pairs, inputs: int, outputs: int, off_diagonal: float) -> Sums:
    """Over tasks, with products in float32 but for a low-rank part of each Gram matrix.

    Args:
        pairs: read one after the other, so that one need be in memory at a time.
        inputs: of the maps.
        outputs: of the maps.
        off_diagonal: what off-diagonal entries are multiplied by.
    """
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((inputs, min(RANK, inputs)), np.float32)
    signs = rng.choice([-1.0, 1.0], (outputs, PROBES))
    found = Sums(np.zeros((inputs, inputs)), np.zeros((inputs, outputs)), np.zeros((inputs, PROBES)))
    for gram, maps in pairs:
        _by_rows(partial(_add, found, _Task.split(gram, maps, directions, signs), off_diagonal), inputs)
    found.errors[:] -= found.products @ signs
    moments = found.grams.diagonal().copy()
    found.grams[:] *= off_diagonal
    np.fill_diagonal(found.grams, moments)
    return found


def exact_products(pairs: Pairs, inputs: int, outputs: int, off_diagonal: float) -> np.ndarray:
    """Σ_k G'_k·M_k in float64 throughout, [in, out]; arguments as of `sums`."""
    products = np.zeros((inputs, outputs))

    def add(gram: np.ndarray, maps: np.ndarray, rows: slice) -> None:
        products[rows] += _weighted(gram[rows].astype(np.float64) @ maps, gram, maps, off_diagonal, rows)

    for gram, maps in pairs:
        _by_rows(partial(add, gram, maps), inputs)
    return products


class _Task(NamedTuple):
    """One task's Gram matrix and maps, what the low-rank part left·right does to them, and probes of the maps."""

    gram: np.ndarray
    maps: np.ndarray
    rounded: np.ndarray
    left: np.ndarray
    right: np.ndarray
    right_maps: np.ndarray
    probes: np.ndarray

    @classmethod
    def split(cls, gram: np.ndarray, maps: np.ndarray, directions: np.ndarray, signs: np.ndarray) -> "_Task":
        # The rest is what is missing to the matrix, so no factor need be exact.
        left = gram @ directions
        core = np.linalg.pinv((directions.T @ left).astype(np.float64), rcond=1e-5, hermitian=True)
        right = core @ left.T
        return cls(gram, maps, maps.astype(np.float32), left.astype(np.float64), right, right @ maps, maps @ signs)


def _add(found: Sums, task: _Task, off_diagonal: float, rows: slice) -> None:
    part = task.gram[rows].astype(np.float64)
    found.grams[rows] += part
    found.errors[rows] += _weighted(part @ task.probes, task.gram, task.probes, off_diagonal, rows)
    part -= task.left[rows] @ task.right
    product = part.astype(np.float32) @ task.rounded + task.left[rows] @ task.right_maps
    found.products[rows] += _weighted(product, task.gram, task.maps, off_diagonal, rows)


def _weighted(
    product: np.ndarray, gram: np.ndarray, maps: np.ndarray, off_diagonal: float, rows: slice
) -> np.ndarray:
    """Rows of G'·M from those of G·M."""
    moments = gram.diagonal()[rows, None].astype(np.float64)
    weighted: np.ndarray = off_diagonal * product + (1 - off_diagonal) * moments * maps[rows]
    return weighted


def _by_rows(add: Callable[[slice], None], size: int) -> None:
    for _ in in_order(add, [slice(start, min(start + ROWS, size)) for start in range(0, size, ROWS)]):
        pass
