"""Random task vectors, and an encoder's parameters for them, for tests."""

import numpy as np

SHAPES = {
    "visual.class_embedding": (6,),
    "visual.positional_embedding": (5, 6),
    "visual.proj": (6, 4),
    "visual.conv1.weight": (6, 3, 2, 2),
    "visual.transformer.resblocks.0.attn.in_proj_weight": (18, 6),
    "visual.transformer.resblocks.0.attn.in_proj_bias": (18,),
}
"""Of one parameter of each kind that methods on matrices tell apart."""


def drawn_tasks(count: int = 3, size: int = 1000, shared: float = 0, scale: float = 1) -> np.ndarray:
    """Of normally distributed entries, float32 [count, size], to which `shared` times other ones are added for all."""
    rng = np.random.default_rng(3)
    own, common = rng.normal(size=(count, size)), rng.normal(size=size)
    return (scale * (own + shared * common)).astype(np.float32)
