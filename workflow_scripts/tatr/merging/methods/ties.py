"""Ties-Merging: trim, elect signs, merge what agrees with the elected sign."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from tatr.errors import TatrError
from tatr.merging.methods import method
from tatr.vectors.layout import Layout, blocks
from tatr.vectors.order_statistics import nth_smallest, share_of
from tatr.vectors.vector import Vector, by_pieces, mapped


@method("Ties-Merging", coefficient=0.3)
def ties(
    task_vectors: Sequence[Vector],
    layout: Layout,
    *,
    density: Annotated[
        float, Interval(gt=0, le=1), "share of each task vector that is kept, the largest entries"
    ] = 0.2,
    combine: Annotated[Literal["sum", "mean"], "of the entries that agree with the elected sign"] = "sum",
    scope: Annotated[Literal["model", "tensor"], "what one threshold is taken over"] = "model",
) -> Iterator[np.ndarray]:
    """v = Σ_k Δ'_k ⊙ [sign Δ'_k = s], with Δ'_k the trimmed task vectors and s = sign Σ_k Δ'_k.

    Source: Yadav et al. 2023, "TIES-Merging: Resolving interference when merging models".

    Trim: of each Δ_k the ⌊density · N⌋ entries of largest magnitude are kept, the others are zero. Entries equal to the
    smallest one kept are all kept. `scope: model` takes one threshold per task; `scope: tensor` one per task and
    parameter tensor, where ⌊density · size⌋ entries are kept, but at least one.
    Elect: the sign s is that of the sum of the trimmed entries. Where they cancel exactly, s is the majority sign,
    that of the sum of s over all N entries; if there is none either, the entry of v is zero.
    Merge: `combine: sum` adds the entries whose sign is s; `combine: mean` divides that sum by their number.

    Defaults: density 0.2 and one threshold per task are the authors'. The sum with λ = 0.3 is what papers on merged
    CLIP models report. The authors take the mean and search λ from 0.8 to 2.5: a mean of a few agreeing entries is
    much smaller than their sum, so give λ with `combine: mean`.
    Trust region: the mask applies to v (Eq. 11 of arXiv 2501.15065). It does not change which entries are trimmed or
    which sign is elected.
    Differences from published codes: the authors' keeps one entry more per task, sums in float32, so that a sign may
    depend on the order of tasks, and takes a majority of zero for negative. Checkpoints that carry text tensors along
    count them in N: they never move, so the same density keeps more of the image encoder there than here. mergekit
    works as `scope: tensor`, but breaks ties of magnitude by position and rounds shares in binary.
    Cost: three passes over the task vectors for one threshold per task (two find the threshold), two per tensor, and
    one more if trimmed entries cancel exactly anywhere; one block of each is in memory at a time.

    Raises:
        TatrError: the density is so small that nothing is kept.
    """
    elected = elect(task_vectors, layout, density, scope)

    def merged(block: slice) -> np.ndarray:
        entries = elected(block)
        total = entries.sum(axis=0)
        if combine == "sum":
            return total
        return total / np.maximum(np.count_nonzero(entries, axis=0), 1).astype(np.float32)

    yield from (by_pieces(block, merged) for block in blocks(len(task_vectors[0])))


def elect(
    task_vectors: Sequence[Vector], layout: Layout, density: float, scope: Literal["model", "tensor"] = "model"
) -> Callable[[slice], np.ndarray]:
    """Trim all task vectors and elect signs; thresholds are computed here, the rest block by block on access.

    Args:
        task_vectors: Δ_k, each [N].
        layout: of the vectors; only `scope` "tensor" looks at it.
        density: share of entries kept per task, in (0, 1].
        scope: whether one threshold is taken over the model or over each parameter tensor.

    Returns:
        A function that gives, for a block of n entries, the entries of each Δ_k that are kept and have the elected
        sign, zero elsewhere, float32 [K, n]; a new array each time.

    Raises:
        TatrError: the density is so small that nothing is kept.
    """
    size = len(task_vectors[0])
    if scope == "model":
        if not share_of(density, size):
            raise TatrError(f"ties: density = {density:g} keeps none of {size:,} entries; give a larger one")
        bounds = [(0, size)]
        thresholds = [[_over_model(vector, density)] for vector in task_vectors]
    else:
        bounds = [(p.offset, p.stop) for p in layout.parameters]
        thresholds = [[_over_tensor(vector[start:stop], density) for start, stop in bounds] for vector in task_vectors]

    def trimmed(block: slice) -> np.ndarray:
        entries = np.stack([vector[block] for vector in task_vectors])
        for index, (start, stop) in enumerate(bounds):
            inside = slice(max(start - block.start, 0), max(min(stop, block.stop) - block.start, 0))
            for row, values in zip(entries, thresholds, strict=True):
                row[inside][np.abs(row[inside]) < values[index]] = 0
        return entries

    @cache
    def majority() -> int:
        # A sum of whole numbers, so exact, and the same for any block size.
        signs = (by_pieces(block, lambda piece: _signs(trimmed(piece))) for block in blocks(size))
        return int(np.sign(sum(int(part.sum(dtype=np.float64)) for part in signs)))

    def elected(block: slice) -> np.ndarray:
        entries = trimmed(block)
        signs = _signs(entries)
        silent = np.flatnonzero(signs == 0)
        cancelled = silent[entries[:, silent].any(axis=0)]
        if len(cancelled):
            signs[cancelled] = majority()
        for row in entries:
            row[np.sign(row) != signs] = 0
        return entries

    return elected


def _signs(entries: np.ndarray) -> np.ndarray:
    # A float64 sum of a few float32 values is all but exact: no sign depends on the order of the tasks.
    total = entries[0].astype(np.float64)
    for row in entries[1:]:
        total += row
    return np.sign(total).astype(np.float32)


def _over_model(vector: Vector, density: float) -> float:
    return nth_smallest(mapped(np.abs, vector), [len(vector) - share_of(density, len(vector))])[0]


def _over_tensor(entries: np.ndarray, density: float) -> float:
    rank = len(entries) - max(share_of(density, len(entries)), 1)
    return float(np.partition(np.abs(entries), rank)[rank])
