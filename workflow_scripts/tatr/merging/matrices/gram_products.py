"""Sums of products of Gram matrices, at the price of float32 and nearly as good as in float64.

A Gram matrix is large in a few directions that all inputs share (their mean, channels that stick out), and a product in
float32 is off by a share of what is largest. A low-rank part G·Ω (Ωᵀ·G·Ω)⁻¹ Ωᵀ·G, for a few random directions Ω, takes
most of that out. It is multiplied in float64, which costs little, and only the rest in float32.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np

from tatr.vectors.layout import cut
from tatr.vectors.threads import in_order

RANK = 8
"""Directions that are multiplied in float64."""

PROBES = 4
"""Random combinations of a map's outputs for which everything is computed in float64, to know the error of all."""

ROWS = 1024
"""Of a Gram matrix, multiplied at once by one thread: at most, and a quarter of them, so that all threads have some."""

STRIP = 2**15
"""Entries of a Gram matrix made ready at once: what that makes on the way (256 KiB each) stays in a core's cache."""

Pairs = Iterable[tuple[np.ndarray, np.ndarray]]
"""Per task: its Gram matrix G_k, [in, in], and a map M_k, [in, out], both float32."""


class Sums(NamedTuple):
    """Σ_k G'_k and Σ_k G'_k·M_k, where G'_k is G_k with smaller off-diagonal entries."""

    grams: np.ndarray
    """Float64 [in, in]."""
    products: np.ndarray
    """Float64 [in, out + PROBES]. The last columns are not products but what is missing to them, times random signs:
    the mean square of a row of these is that of the row's whole error, on average."""


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
    found = Sums(np.zeros((inputs, inputs)), np.zeros((inputs, outputs + PROBES)))
    for gram, maps in pairs:
        task = _Task.split(gram, maps, directions, signs, off_diagonal)
        _by_rows(partial(_add, found, task, off_diagonal), inputs)
        del gram, maps, task  # before the next are read
    found.products[:, outputs:] -= found.products[:, :outputs] @ signs
    return found


def exact_products(pairs: Pairs, inputs: int, outputs: int, off_diagonal: float) -> np.ndarray:
    """Σ_k G'_k·M_k in float64 throughout, [in, out]; arguments as of `sums`."""
    products = np.zeros((inputs, outputs))

    def add(gram: np.ndarray, maps: np.ndarray, rows: slice) -> None:
        products[rows] += _weighted(gram, off_diagonal, rows) @ maps

    for gram, maps in pairs:
        _by_rows(partial(add, gram, maps.astype(np.float64)), inputs)
        del gram, maps
    return products


class _Task(NamedTuple):
    """One task's Gram matrix and maps, the factors left·right of its low-rank part, and what these do to the maps."""

    gram: np.ndarray
    maps: np.ndarray
    probes: np.ndarray
    left: np.ndarray
    right: np.ndarray
    right_maps: np.ndarray

    @classmethod
    def split(
        cls, gram: np.ndarray, maps: np.ndarray, directions: np.ndarray, signs: np.ndarray, off_diagonal: float
    ) -> "_Task":
        # What is left of the matrix is computed, not assumed, so no factor need be exact.
        left = gram @ directions
        core = np.linalg.pinv((directions.T @ left).astype(np.float64), rcond=1e-5, hermitian=True)
        right = off_diagonal * core @ left.T
        probes, right_maps = np.empty((len(maps), signs.shape[1])), np.zeros((len(right), maps.shape[1]))
        for rows in cut(slice(0, len(maps)), ROWS):
            part = maps[rows].astype(np.float64)
            probes[rows] = part @ signs
            right_maps += right[:, rows] @ part
        return cls(gram, maps, probes, left.astype(np.float64), right, right_maps)


def _add(found: Sums, task: _Task, off_diagonal: float, rows: slice) -> None:
    rest = np.empty_like(task.gram[rows])
    step = max(1, STRIP // len(task.gram))
    for strip in cut(rows, step):
        part = _weighted(task.gram, off_diagonal, strip)
        found.grams[strip] += part
        found.products[strip, -PROBES:] += part @ task.probes
        part -= task.left[strip] @ task.right
        rest[strip.start - rows.start : strip.stop - rows.start] = part
    products = found.products[rows, :-PROBES]
    products += rest @ task.maps
    products += task.left[rows] @ task.right_maps


def _weighted(gram: np.ndarray, off_diagonal: float, rows: slice) -> np.ndarray:
    """Rows of G', float64."""
    part = gram[rows].astype(np.float64)
    places = np.arange(rows.start, rows.stop)
    moments = part[places - rows.start, places]
    part *= off_diagonal
    part[places - rows.start, places] = moments
    return part


def _by_rows(add: Callable[[slice], None], size: int) -> None:
    for _ in in_order(add, cut(slice(0, size), min(ROWS, -(-size // 4)))):
        pass
