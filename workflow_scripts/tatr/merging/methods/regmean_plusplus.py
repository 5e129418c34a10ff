"""RegMean++: RegMean on the inputs that each linear map has behind the merged encoder's earlier blocks."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.errors import TatrError
from tatr.merging.matrices.linear_maps import Gram
from tatr.merging.matrices.merged_grams import of_one, of_task, of_tasks
from tatr.merging.methods import method
from tatr.merging.methods.regmean import regressed
from tatr.merging.task_weights import Weights
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector, recut

# Named, as the recipe of the measuring (`tatr.training.recipes.merged_exemplars`) has the field, too.
OffDiagonal = Annotated[float, Interval(ge=0, le=1), "factor of the Gram matrices' off-diagonal entries"]


@method("RegMean++", coefficient=1.0)
def regmean_plusplus(
    task_vectors: Sequence[Vector],
    layout: Layout,
    merged_grams: Sequence[Vector],
    weights: Weights = None,
    *,
    exemplars: Annotated[int, Interval(ge=1), "training images per task that Gram matrices are measured on"] = 256,
    off_diagonal: OffDiagonal = 0.95,
) -> Iterator[np.ndarray]:
    """v = (Σ_k G_k)⁻¹ Σ_k G_k Δ_k for the blocks' linear maps and the projection, and (1/K) Σ_k Δ_k for all else.

    Source: Nguyen et al. 2025, "RegMean++: Enhancing effectiveness and generalization of regression mean for model
    merging" (arXiv 2508.03121), in the order of computation of the authors' code. It is RegMean, but for the inputs x
    of G_k = Σ xxᵀ: RegMean takes those that a map has in model θ_k, though in the merged model it will see what the
    merged maps before it give. Here task k's images come through the blocks that are merged already, then through θ_k's
    own block, whose linear maps are watched there; then this block is merged, and so on (stage `merged_gram`). No label
    is read.

    Defaults: the authors' 256 training images per task, and off-diagonal entries × 0.95. λ = 1, as of RegMean.

    Linear maps are attention's in_proj and out_proj and both of the MLP, in every block, and the projection. Embeddings
    (patches, class token, positions), biases and norms are averaged. Stacking queries, keys and values changes nothing,
    as their inputs are the same.

    Weights: as of RegMean, in every block that inputs come through, too.

    Trust region: the mask multiplies v; what was measured came through blocks that were merged without it.

    Differences from the authors' code: they leave the last norm and the projection at θ_pre, as they merge an encoder
    that has these frozen; here they were fine-tuned, so the norm is averaged, and the projection is merged by its
    inputs behind θ_k's own last norm. Their images are drawn without a seed. They divide G_k by the number of tokens,
    here by that of images, which are proportional for each map. How the system is solved, and what a singular one does,
    is RegMean's, in float64.

    Cost: measuring takes two forward passes over all tasks' images, and merges every block once: K matrices [in, in]
    per map, in float32, on disk (as many as RegMean has, in one artefact), and all tokens between two blocks in a
    temporary file (4·K·exemplars·tokens·width bytes). The merge costs what RegMean's does.

    Raises:
        TatrError: Gram matrices of another number of entries than the encoder's maps have.
    """
    # `exemplars` is a setting of the stage that measures `merged_grams`; here they have been measured.
    matrices = of_one(layout)
    for values in merged_grams:
        _check_size(values, matrices)
    grams = [Gram(matrices, values) for values in merged_grams]
    return recut(regressed(layout.parameters, task_vectors, grams, weights, off_diagonal), layout.size)


def by_task(layout: Layout, tasks: Sequence[str], values: Vector) -> list[Vector]:
    """Each task's Gram matrices, out of all that were measured for these tasks (`of_tasks`).

    Raises:
        TatrError: they are of another encoder.
    """
    stored = of_tasks(layout, tasks)
    _check_size(values, stored)
    return [of_task(layout, stored, values, task) for task in tasks]


def _check_size(values: Vector, matrices: Layout) -> None:
    if len(values) != matrices.size:
        raise TatrError(
            f"regmean_plusplus: Gram matrices of {len(values):,} entries, but those of the encoder's linear maps have "
            f"{matrices.size:,}; measure them again for this encoder"
        )
