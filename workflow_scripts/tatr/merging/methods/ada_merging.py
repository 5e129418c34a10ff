"""AdaMerging: task vectors weighted by coefficients that were learnt on unlabelled images."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from tatr.errors import TatrError
from tatr.merging.methods import method
from tatr.merging.methods.ties import elect
from tatr.merging.unlabelled import BatchSize, Iterations, LearningRate, Split
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector, computed

# Named, as the recipe of the learning (`tatr.training.recipes.adaptation`) has these fields, too.
Granularity = Annotated[Literal["layer", "task"], "one coefficient per task and parameter tensor, or one per task"]
Density = Annotated[
    float | None,
    Interval(gt=0, le=1),
    "AdaMerging++: share of each task vector's entries, the largest, kept before signs are elected; null keeps all",
]
Initial = Annotated[float, Interval(ge=0, le=1), "all coefficients before the first iteration"]


@method("AdaMerging", coefficient=1.0)
def ada_merging(
    task_vectors: Sequence[Vector],
    layout: Layout,
    coefficients: np.ndarray,
    *,
    granularity: Granularity = "layer",
    density: Density = None,
    initial: Initial = 0.3,
    iterations: Iterations = 500,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = 1e-3,
    split: Split = "test",
) -> Vector:
    """v = Σ_k Σ_l λ_kl Δ_kl, λ learnt (Yang et al. 2024, "AdaMerging: Adaptive model merging for multi-task learning").

    l counts parameter tensors; λ_kl, in [0, 1], minimise the entropy of the merged model's predictions on unlabelled
    images of all tasks, without labels. They are learnt in a step of their own (`adaptation`), which all settings are
    for; here they arrive as `coefficients`, float32 [K, tensors], and λ of θ_pre + λ·v stays 1. With `density` it is
    AdaMerging++: learnt and merged are the task vectors that Ties-Merging has trimmed and left with the elected signs.

    Defaults: the authors'; their density for ++ is 0.2. Their images are those that accuracy is then measured on;
    `split: validation` learns from images that were held out of training instead.
    Trust region: the mask applies to the task vectors before the coefficients are learnt (Eq. 12 of arXiv 2501.15065),
    and for ++ after they are trimmed, as trimming looks at whole task vectors (Eq. 11). The step `adaptation` does all
    that. Here the merge is linear in each entry and the mask is the same for all tasks, so the merged direction masked
    once is exactly the sum of λ_kl times masked (and trimmed) task vectors.
    Differences from the published code: a task's images are drawn epoch by epoch, not afresh in every iteration; the
    entropy is one mean over 32 images, not the sum of two over 16, of which Adam takes no notice; ++ trims the image
    encoder alone, not also the text tensors that checkpoints carry along.
    Cost: one pass over the task vectors; one block of each is in memory at a time. `density` adds what Ties-Merging
    costs.

    Raises:
        TatrError: the coefficients are of another number of tensors than the layout.
    """
    coefficients = np.asarray(coefficients, np.float32)
    if coefficients.shape != (len(task_vectors), len(layout.parameters)):
        raise TatrError(
            f"ada_merging: coefficients of shape {list(coefficients.shape)}, expected "
            f"{[len(task_vectors), len(layout.parameters)]} (tasks, parameter tensors); learn them for this encoder"
        )
    elected = None if density is None else elect(task_vectors, layout, density)

    def merged(block: slice) -> np.ndarray:
        total = np.zeros(block.stop - block.start, np.float32)
        rows: Iterable[np.ndarray] = (vector[block] for vector in task_vectors) if elected is None else elected(block)
        parts = [*_inside(layout, block)]
        for row, its_coefficients in zip(rows, coefficients, strict=True):
            for part, coefficient in zip(parts, its_coefficients, strict=True):
                total[part] += coefficient * row[part]
        return total

    return computed(merged, *task_vectors)


def _inside(layout: Layout, block: slice) -> Iterator[slice]:
    """Which part of a block is each parameter's, if any."""
    for parameter in layout.parameters:
        start, stop = max(parameter.offset, block.start), min(parameter.stop, block.stop)
        yield slice(start - block.start, max(start, stop) - block.start)
