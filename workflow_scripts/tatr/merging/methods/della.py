"""DELLA: drop entries at random, small ones rather than large ones; rescale, elect signs, average what agrees."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from tatr.merging.matrices.each_parameter import each_parameter
from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, factors_of
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.random_numbers import of_entries
from tatr.vectors.vector import Vector
from tatr.vectors.votes import Votes


def _refuses(settings: Mapping[str, Any], _tasks: int) -> str | None:
    drop, window = settings["drop"], settings["window"]
    lowest, highest = drop - window / 2, drop + window / 2
    if lowest >= 0 and highest < 1:
        return None
    return (
        f"with drop = {drop:g} and window = {window:g} entries are dropped with probabilities from {lowest:g} to "
        f"{highest:g}; these must be from 0 to below 1"
    )


@method("DELLA", coefficient=1.1, refuses=_refuses)
def della(
    task_vectors: Sequence[Vector],
    layout: Layout,
    weights: Weights = None,
    *,
    drop: Annotated[float, Interval(ge=0, lt=1), "probability that an entry is dropped, on average over a row"] = 0.3,
    window: Annotated[
        float, Interval(ge=0, lt=1), "by how much it is higher for a row's smallest entry than for its largest"
    ] = 0.14,
    elect: Annotated[bool, "average the entries of the elected sign; else add up all entries"] = True,
    seed: Annotated[int, Interval(ge=0), "of the random numbers"] = 0,
) -> Iterator[np.ndarray]:
    """v = mean of the Δ'_k that have the sign of Σ_k Δ'_k, with Δ'_k the task vectors of which entries were dropped.

    Source: Deep et al. 2024, "DELLA-Merging: reducing interference in model merging through magnitude-based sampling"
    (arXiv 2406.11617).

    Drop: of a row's n entries, ranked 0 … n − 1 by magnitude, entry r is kept with probability
    p_r = 1 − drop − window/2 + window · r/(n − 1), and then divided by p_r, so that every entry's expectation stays.
    Rows are those of a matrix, the filters of a convolution, and a whole bias or norm; a single entry has p = 1 − drop.
    Of equal magnitudes the first ranks lower. With `window` 0 the dropping is DARE's.
    Elect and merge: where the sum of what is left is positive, or zero, v is the mean of the tasks' positive entries,
    elsewhere of the negative ones. `elect: false` adds up all that is left, as DARE does.

    Defaults: `drop` 0.3, `window` 0.14 and λ = 1.1 are those of the authors' example for language models. No results on
    merged CLIP models are published; tune all three.
    Random numbers: each entry's comes from the seed, the task and the entry's place alone, as in DARE. So v depends on
    the seed and on the order of tasks, but not on block sizes; report several seeds.
    Weights: w_k Δ'_k takes the place of Δ'_k, so weights count in the election, too; the mean is a weighted one. What
    is dropped stays the same.
    Trust region: the mask applies to v. It does not change ranks or signs.
    Differences from published codes: the authors' takes random numbers from one stream. mergekit's `epsilon` is
    window/2 and its `density` 1 − drop, by default 1, which drops nothing; it rescales each tensor to its former L1
    norm instead of dividing by p, takes the rows of a convolution along its second dimension, and divides by zero where
    rows have one entry.
    Cost: one pass over the task vectors, each row of which is sorted. In memory is one parameter tensor of one task,
    with about 80 bytes per entry; threads take as many tensors at once as fit into 256 MiB.
    """
    factors = factors_of(weights, len(task_vectors))

    def merged(parameter: Parameter) -> np.ndarray:
        return _merged(task_vectors, factors, parameter, (drop + window / 2, drop - window / 2), seed, elect)

    return each_parameter(merged, layout, lambda parameter: 80 * parameter.size)


def _merged(
    task_vectors: Sequence[Vector],
    factors: Sequence[float],
    parameter: Parameter,
    drops: tuple[float, float],
    seed: int,
    elect: bool,
) -> np.ndarray:
    block = slice(parameter.offset, parameter.stop)
    votes = Votes((parameter.size,))
    for task, (vector, factor) in enumerate(zip(task_vectors, factors, strict=True)):
        entries = vector[block].astype(np.float64)
        votes.add(_sparsified(entries, parameter.shape, drops, of_entries(block, task, seed)), factor)
    total = votes.total()
    return (votes.means(total >= 0) if elect else total).astype(np.float32)


def _sparsified(
    entries: np.ndarray, shape: tuple[int, ...], drops: tuple[float, float], numbers: np.ndarray
) -> np.ndarray:
    """Entries [n] that are kept, over their probabilities, and 0 elsewhere; `drops` of a row's smallest and largest."""
    if not entries.size:
        return entries
    rows = entries.reshape(shape[0] if len(shape) > 1 else 1, -1)
    width = rows.shape[1]
    by_rank = np.linspace(*drops, width) if width > 1 else np.array([sum(drops) / 2])
    by_place = np.empty(rows.shape)
    np.put_along_axis(by_place, np.argsort(np.abs(rows), axis=1, kind="stable"), by_rank[None], axis=1)
    uniform, dropped = (numbers >> np.uint64(11)) * 2.0**-53, by_place.reshape(-1)
    return np.where(uniform >= dropped, entries / (1 - dropped), 0)
