"""Which training images stand for a task when its gradients are measured."""

import numpy as np

from tatr.errors import TatrError


def draw_exemplars(available: int, count: int, seed: int, source: str) -> np.ndarray:
    """Indices, int64 [count]: the first `count` of one seeded permutation, so smaller draws are part of larger ones.

    Raises:
        TatrError: fewer images than asked for.
    """
    if count > available:
        raise TatrError(f"{source}: {count} exemplars asked for, but there are {available} training images")
    return np.random.default_rng(seed).permutation(available)[:count]
