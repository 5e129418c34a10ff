"""LiNeS: task vectors scaled by depth, little in the first residual blocks and more in the last."""

import re
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from tatr.errors import TatrError
from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, weighted
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector, computed, total

NUMBERED = re.compile(r"(|.*?\.)(\d+)\.")
"""A name's beginning up to its first integer, and that integer."""


@method("LiNeS", coefficient=1.0)
def lines(
    task_vectors: Sequence[Vector],
    layout: Layout,
    weights: Weights = None,
    *,
    alpha: Annotated[float | None, Interval(ge=0), "α, the scale of the first residual block; null for 1/K"] = None,
    beta: Annotated[float, Interval(ge=0), "β, how much more the last residual block is scaled than the first"] = 0.5,
    outside: Annotated[
        Literal["nearest", "first"],
        "scale of what lies before or after all blocks: the nearest block's, or always the first's",
    ] = "nearest",
) -> Vector:
    """v = (α + β·(l − 1)/(L − 1)) Σ_k Δ_k, for the parameters of residual block l of L.

    Source: Wang et al. 2024, "LiNeS: post-training layer scaling prevents forgetting and enhances model merging" (arXiv
    2410.17146). Shallow layers, whose features are general, stay near θ_pre; deep ones take over more of the tasks.

    Defaults: α and β are the paper's own while λ = 1. λ scales both: θ = θ_pre + λ·v has the scales λα … λ(α + β), so
    a search over λ keeps the slope β/α and a search over β keeps the first block's scale. The authors' recipe for
    merging is λ = 1, α = 1/K (their ‖Σ_k Δ_k‖ / (K·‖v‖) for v = Σ_k Δ_k) and β from a grid in (0, 1], chosen on
    validation data; for a single task it is β = 1 − α. α = 1/K is thus the authors'; β = 0.5, the middle of their
    grid, is ours. α = 0.3, β = 0 is Task Arithmetic.

    Depth is read off the names: of the parts of a model that are numbered (`resblocks.3.`, `layers.3.`; the first
    integer in a name) the one with the most numbers is taken for the blocks. Parameters before the first block
    (embeddings, `conv1`, `ln_pre`) have its scale and those after the last block (`ln_post`, `proj`) the last's. What
    comes after is told by the layout's order, except that open_clip lists the output projection `proj` first. With a
    single block all have the scale α.

    Weights: w_k Δ_k takes the place of Δ_k; the scales stay, with `alpha: null` 1/K.

    Trust region: the mask applies to v. The scales are the same for all tasks, so masking each task vector first
    would give the same.

    Differences from the authors' code: it scales `ln_post` and `proj` by α, like all that lies outside of blocks;
    `outside: first` does that.

    Cost: one pass over the task vectors; one block of each is in memory at a time.

    Raises:
        TatrError: no parameter's name has a number.
    """
    scales = _scales(layout, 1 / len(task_vectors) if alpha is None else alpha, beta, outside)
    summed = total(weighted(task_vectors, weights))

    def part(block: slice) -> np.ndarray:
        entries = summed[block]
        for start, stop, scale in scales:
            entries[max(start - block.start, 0) : max(stop - block.start, 0)] *= scale
        return entries

    return computed(part, summed)


def _scales(layout: Layout, alpha: float, beta: float, outside: str) -> list[tuple[int, int, np.float32]]:
    """Consecutive parameters of one scale: start and stop in the flat vector, and the scale."""
    depths = _depths([parameter.name for parameter in layout.parameters], outside)
    runs = groupby(zip(layout.parameters, depths, strict=True), key=lambda pair: pair[1])
    scales = []
    for depth, run in runs:
        parameters = [parameter for parameter, _ in run]
        scales.append((parameters[0].offset, parameters[-1].stop, np.float32(alpha + beta * depth)))
    return scales


def _depths(names: Sequence[str], outside: str) -> list[float]:
    """Per parameter (l − 1)/(L − 1), from 0 in the first block to 1 in the last."""
    positions = [(m[1], int(m[2])) if (m := NUMBERED.match(name)) else ("", -1) for name in names]
    numbered: dict[str, set[int]] = {}
    for prefix, number in positions:
        if number >= 0:
            numbered.setdefault(prefix, set()).add(number)
    if not numbered:
        raise TatrError(
            f"lines: no residual block among the {len(names)} parameters, whose names have no number "
            "(as in 'resblocks.0.'); it scales by depth and cannot merge this architecture"
        )
    blocks_prefix = max(numbered, key=lambda prefix: len(numbered[prefix]))
    ranks = {(blocks_prefix, number): rank for rank, number in enumerate(sorted(numbered[blocks_prefix]))}
    last = max(i for i, position in enumerate(positions) if position in ranks)
    deepest = len(ranks) - 1

    def rank_of(i: int) -> int:
        # What comes last in a model need not come last in its file.
        after = i > last or names[i].rpartition(".")[2] == "proj" or names[i].startswith("lm_head.")
        return ranks.get(positions[i], deepest if after and outside == "nearest" else 0)

    return [rank_of(i) / max(deepest, 1) for i in range(len(names))]
