"""PCB-Merging: entries weighed by how large they are in their task and how well the tasks agree on them."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.methods import method
from tatr.vectors.order_statistics import nth_smallest_of_each, sampled, share_of
from tatr.vectors.vector import Vector, computed, joined, mapped, remembered, strips

MARGIN = 0.01
"""Share of a task's entries below those kept whose scores are computed, too, as a sample may mislead by so much."""

LEAST = 1e-30
"""A floor below which rounding in float32 might decide that an entry lies under it."""

Span = tuple[float, float]


@method("PCB-Merging", coefficient=1.2)
def pcb(
    task_vectors: Sequence[Vector],
    *,
    ratio: Annotated[
        float, Interval(gt=0, le=1), "share of each task's entries that is kept, by balancing score"
    ] = 0.05,
    clamp: Annotated[float, Interval(ge=0, lt=0.5), "share of each task's smallest and largest |Δ| that is cut"] = 0.01,
) -> Vector:
    """v = Σ_k w_k ⊙ Δ̃_k / Σ_k w_k, where w_k is task k's balancing score, zero for all but its top `ratio`.

    Source: Du et al. 2024, "Parameter competition balancing for model merging" (arXiv 2410.02396). Per entry and task:

    1. Δ̃_k is Δ_k with |Δ_k| clamped to its `clamp` and 1 − `clamp` quantiles; n_k is sign(Δ_k) times |Δ̃_k|, scaled
       linearly to 0 … 1 over the whole task vector.
    2. Intra-balancing exp(K·n_k²): what is large within its task competes better.
    3. Inter-balancing Σ_j tanh(n_k·n_j), over all tasks and itself: what others change in the same direction.
    4. The score is the product of both. The `ratio` · N highest of a task are kept and scaled linearly to 0 … 1, from
       the lowest of them, which has no weight, to the highest; the others' weight is 0. Where no task has weight, v
       is 0; a task whose scores are all equal has none.

    Defaults: `ratio` = 0.05, `clamp` = 0.01 and λ = 1.2 are those of the authors' code for CLIP (its search with one λ
    per task starts from the same steps and is not offered here). Each v is a mean, not a sum, hence a λ near 1.

    Trust region: the mask applies to v. Quantiles and scores are thus of whole task vectors, as without a trust
    region; masking first would fill the lowest quantile with zeros.

    Differences from published forms: the paper writes softmax over all N entries, Softmax(K · Norm(Δ_k²)) · Σ_j
    Softmax(Norm(Δ_k Δ_j)), without clamping. The authors' code has exp and tanh in its place, with three variants of
    the inter-balancing; this is the one of their vision code with a search over λ, nearest to the paper. (The others
    are tanh(Δ_k Σ_j n_j) and tanh(Δ_k Σ_j Δ_j), where tanh does next to nothing as entries of Δ are tiny.) Softmax's
    denominator in intra-balancing would be one number per task, which the scaling of step 4 removes, as it does the
    factor e^−K by which intra-balancing is computed here so that it cannot overflow. Quantiles are exact order
    statistics. Where all weights together are below 1e-12 the authors' code shrinks v; here it stays a weighted mean.

    Cost: four passes over the task vectors: a sample, quantiles, scores, v (five where a lowest kept score is not
    positive, as with a `ratio` near 1). Scores are computed only where they may be among the highest: as tanh(x) ≤ x,
    most entries need no tanh. Their number grows with K², the rest of the time with K. In memory are a block of each
    task vector and of its scores, per thread.
    """
    drawn = sampled(task_vectors)
    scores = _Scores(task_vectors, _quantiles(task_vectors, clamp, drawn))
    ranges = _kept_scores(scores, ratio, drawn)

    def merged(block: slice) -> np.ndarray:
        deltas = [vector[block] for vector in task_vectors]
        return joined([_merged([delta[strip] for delta in deltas], scores, ranges) for strip in strips(block)])

    return computed(merged, *task_vectors)


def _merged(deltas: Sequence[np.ndarray], scores: "_Scores", ranges: Sequence[Span]) -> np.ndarray:
    total, weights = np.zeros_like(deltas[0]), np.zeros_like(deltas[0])
    found = scores.of(deltas, [low for low, _ in ranges])
    for delta, span, kept, (where, score) in zip(deltas, scores.spans, ranges, found, strict=True):
        weight, entries = _scaled(score, kept), delta[where]
        total[where] += weight * np.sign(entries) * np.clip(np.abs(entries), *span)
        weights[where] += weight
    return np.divide(total, weights, out=np.zeros_like(total), where=weights > 0)


def _quantiles(task_vectors: Sequence[Vector], clamp: float, drawn: Sequence[np.ndarray]) -> list[Span]:
    """Of each |Δ_k|, at `clamp` and 1 − `clamp`."""
    size = len(task_vectors[0])
    cut = share_of(clamp, size)
    magnitudes = [mapped(np.abs, vector) for vector in task_vectors]
    ranks = [[cut, size - 1 - cut]] * len(task_vectors)
    found = nth_smallest_of_each(magnitudes, ranks, [np.abs(entries) for entries in drawn])
    return [(low.value, high.value) for low, high in found]


def _kept_scores(scores: "_Scores", ratio: float, drawn: Sequence[np.ndarray]) -> list[Span]:
    """The lowest and the highest of each task's `ratio` · N highest scores, exactly."""
    count, size = len(drawn), len(scores.task_vectors[0])
    kept = max(1, share_of(ratio, size))
    sample = scores.dense(drawn, [0.0] * count)
    place = max(0, int((1 - kept / size - MARGIN) * len(drawn[0])))
    floors = [float(np.partition(its, place)[place]) for its in sample]

    def ranked(sign: int, floors: Sequence[float], ranks: list[int]) -> list[list[float]]:
        found = nth_smallest_of_each(scores.rows(sign, floors), [ranks] * count, [*np.maximum(sign * sample, 0)])
        return [[its.value for its in of_task] for of_task in found]

    ends = ranked(1, floors, [size - kept, size - 1])
    if any(low < floor for (low, _), floor in zip(ends, floors, strict=True)):
        ends = ranked(1, [0.0] * count, [size - kept, size - 1])
    if all(low > 0 for low, _ in ends):
        return [(low, high) for low, high in ends]
    # Order statistics are of values from 0 up, so scores below are counted from the other side. The highest of all
    # is not among these: a task's smallest entry has the score 0.
    below = ranked(-1, [0.0] * count, [kept - 1])
    return [(low if low > 0 else -other, high) for (low, high), (other,) in zip(ends, below, strict=True)]


class _Scores:
    """Balancing scores of all tasks, those that matter."""

    def __init__(self, task_vectors: Sequence[Vector], spans: Sequence[Span]) -> None:
        self.task_vectors, self.spans = task_vectors, spans

    def of(self, deltas: Sequence[np.ndarray], floors: Sequence[float]) -> list[tuple[np.ndarray | slice, np.ndarray]]:
        """Per task: places among the entries given, and the scores there; all others' are below the task's floor."""
        normals = np.stack([_normalised(delta, span) for delta, span in zip(deltas, self.spans, strict=True)])
        sizes = np.abs(normals)
        most = sizes.sum(axis=0) * np.float32(1.001)  # tanh(x) ≤ x: of all tasks' agreement with an entry of size 1
        return [_score(normals, k, sizes[k] * most, floor) for k, floor in enumerate(floors)]

    def dense(self, deltas: Sequence[np.ndarray], floors: Sequence[float]) -> np.ndarray:
        """The same as float32 [K, n], 0 elsewhere."""
        scores = np.zeros((len(deltas), len(deltas[0])), np.float32)
        for strip in strips(slice(0, len(deltas[0]))):
            found = self.of([delta[strip] for delta in deltas], floors)
            for row, (where, score) in zip(scores, found, strict=True):
                row[strip][where] = score
        return scores

    def rows(self, sign: int, floors: Sequence[float]) -> list[Vector]:
        """Each task's `sign` · score where that is positive, else 0; 0 where it is below the floor, too."""

        def part(block: slice) -> np.ndarray:
            scores = self.dense([vector[block] for vector in self.task_vectors], floors)
            scores *= np.float32(sign)
            return np.maximum(scores, 0, out=scores)

        every = remembered(computed(part, *self.task_vectors))  # the tasks' rows of a block are asked for in turn
        return [computed(partial(_row, every, k), every) for k in range(len(self.task_vectors))]


def _row(every: Vector, k: int, block: slice) -> np.ndarray:
    return every[block][k]


def _score(normals: np.ndarray, k: int, most: np.ndarray, floor: float) -> tuple[np.ndarray | slice, np.ndarray]:
    intra = np.exp(len(normals) * (normals[k] ** 2 - 1))
    where = np.flatnonzero(intra * most >= np.float32(floor)) if floor > LEAST else slice(None)
    others, agreement = normals[:, where], np.zeros(len(intra[where]))
    for other in others:  # in float64: the order of tasks must not decide which entries are kept
        agreement += np.tanh(others[k] * other)
    return where, (intra[where] * agreement).astype(np.float32)


def _normalised(delta: np.ndarray, span: Span) -> np.ndarray:
    return np.sign(delta) * _scaled(np.abs(delta), span)


def _scaled(values: np.ndarray, span: Span) -> np.ndarray:
    """`span` linearly to 0 … 1 and what lies outside of it to its ends; all to 0 if it is empty."""
    low, high = span
    if not high > low:
        return np.zeros_like(values)
    return (np.clip(values, low, high) - low) / (high - low)
