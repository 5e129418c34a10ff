"""Which training images stand for a task when its gradients are measured."""

import numpy as np

from tatr.data.checks import check_exemplars
from tatr.data.image_store import StoredImages

PIECE = 8
"""Exemplars read at once. Each drags a whole compressed chunk through memory (5 MiB at 224 × 224, several times)."""


def draw_exemplars(available: int, count: int, seed: int, where: str) -> np.ndarray:
    """Indices, int64 [count]: the first `count` of one seeded permutation, so smaller draws are part of larger ones.

    Raises:
        TatrError: there are fewer images than `count`.
    """
    check_exemplars(available, count, where)
    return np.random.default_rng(seed).permutation(available)[:count]


def read_exemplars(images: StoredImages, chosen: np.ndarray) -> np.ndarray:
    """The images with these indices, uint8 [count, H, W, 3], in their order; a few are read at a time."""
    exemplars = np.empty((len(chosen), *images.shape[1:]), np.uint8)
    for start in range(0, len(chosen), PIECE):
        exemplars[start : start + PIECE] = images[chosen[start : start + PIECE]]
    return exemplars
