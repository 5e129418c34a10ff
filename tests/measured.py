"""Task vectors of a small vision transformer and the inputs of its layers, for tests of methods that look at inputs."""

from collections.abc import Sequence

import numpy as np
from drawn_tasks import drawn_tasks

from tatr.merging.matrices.linear_maps import gram_layout
from tatr.merging.merge import MergeInputs
from tatr.vectors.layout import Layout

BLOCKS = {
    f"visual.transformer.resblocks.{layer}.{name}": shape
    for layer in range(2)
    for name, shape in {
        "ln_1.weight": (9,),
        "ln_1.bias": (9,),
        "attn.in_proj_weight": (27, 9),
        "attn.in_proj_bias": (27,),
        "attn.out_proj.weight": (9, 9),
        "mlp.c_fc.weight": (12, 9),
        "mlp.c_proj.weight": (9, 12),
    }.items()
}
LAYOUT = Layout.of(
    {
        "visual.class_embedding": (9,),
        "visual.positional_embedding": (5, 9),
        "visual.proj": (9, 4),
        "visual.conv1.weight": (9, 3, 2, 1),
        "visual.ln_pre.weight": (9,),
        **BLOCKS,
        "visual.ln_post.weight": (9,),
        "visual.ln_post.bias": (9,),
    }
)
MAPS = {place.name: place.shape[0] for place in gram_layout(LAYOUT).parameters if len(place.shape) == 2}
"""Linear maps, and how many inputs they have."""

SCALES = [place.name for place in gram_layout(LAYOUT).parameters if len(place.shape) == 1]

Inputs = dict[str, np.ndarray]
"""Of a task: per weight its inputs, a row each; of a scale the normalised ones."""


def random_tasks(count: int = 3) -> np.ndarray:
    """Task vectors that share a part, float32 [count, N]."""
    return drawn_tasks(count, LAYOUT.size, shared=1, scale=1e-3)


def random_inputs(
    count: int = 3, rows: int = 60, mean: float = 0.0, seed: int = 5, layout: Layout = LAYOUT
) -> list[Inputs]:
    """Inputs of each task, as many rows each; on scales of their own, around a mean that all share."""
    rng = np.random.default_rng(seed)
    sizes = {place.name: place.shape[0] for place in gram_layout(layout).parameters}
    spread = {name: rng.uniform(0.5, 2, (count, size)) for name, size in sizes.items()}
    return [
        {name: rng.normal(size=(rows, size)) * spread[name][task] + mean for name, size in sizes.items()}
        for task in range(count)
    ]


def grams_of(inputs: Sequence[Inputs], layout: Layout = LAYOUT) -> list[np.ndarray]:
    """What the stage `gram` keeps of them, but for the division by the number of images."""
    places = gram_layout(layout)
    return [
        places.flatten(
            {
                place.name: its[place.name].T @ its[place.name]
                if len(place.shape) == 2
                else np.square(its[place.name]).sum(axis=0)
                for place in places.parameters
            }
        )
        for its in inputs
    ]


def measured(vectors: np.ndarray, inputs: Sequence[Inputs]) -> MergeInputs:
    """What such methods take."""
    return MergeInputs([*vectors], layout=LAYOUT, grams=grams_of(inputs))


def as_maps(vector: np.ndarray) -> dict[str, np.ndarray]:
    """The linear maps in a vector as float64 [in, out], by name."""
    tensors = LAYOUT.unflatten(vector)
    maps = {name: tensors[name].reshape(len(tensors[name]), -1).T.astype(np.float64) for name in MAPS}
    return maps | {"visual.proj": tensors["visual.proj"].astype(np.float64)}
