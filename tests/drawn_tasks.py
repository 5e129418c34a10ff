"""Random task vectors, for tests."""

import numpy as np


def drawn_tasks(count: int = 3, size: int = 1000, shared: float = 0, scale: float = 1) -> np.ndarray:
    """Of normally distributed entries, float32 [count, size], to which `shared` times other ones are added for all."""
    rng = np.random.default_rng(3)
    own, common = rng.normal(size=(count, size)), rng.normal(size=size)
    return (scale * (own + shared * common)).astype(np.float32)
