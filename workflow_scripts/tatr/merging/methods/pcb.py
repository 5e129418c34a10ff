"""PCB-Merging: entries weighed by how large they are in their task and how well the tasks agree on them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.methods import method
from tatr.vectors.layout import blocks
from tatr.vectors.order_statistics import nth_smallest, share_of
from tatr.vectors.vector import Vector, mapped

CHUNK = 2**15
"""Entries computed at once: intermediate results stay in the processor's cache, which is three times as fast."""

Span = tuple[float, float]


@method("PCB-Merging", coefficient=1.2)
def pcb(
    task_vectors: Sequence[Vector],
    *,
    ratio: Annotated[
        float, Interval(gt=0, le=1), "share of each task's entries that is kept, by balancing score"
    ] = 0.05,
    clamp: Annotated[float, Interval(ge=0, lt=0.5), "share of each task's smallest and largest |Δ| that is cut"] = 0.01,
) -> Iterator[np.ndarray]:
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

    Cost: two passes over each task vector for its quantiles; for each task two passes over all K for its scores
    (four where its lowest kept score is not positive, as with a `ratio` near 1), and one for v: the time grows with
    K². One block of each task vector is in memory at a time.
    """
    size = len(task_vectors[0])
    spans = [_quantiles(vector, clamp) for vector in task_vectors]
    every = [_scores_of(task_vectors, spans, k) for k in range(len(task_vectors))]
    ranges = [_kept_scores(scores, ratio) for scores in every]
    for block in blocks(size):
        yield _by_chunks([vector[block] for vector in task_vectors], lambda deltas: _merged(deltas, spans, ranges))


def _merged(deltas: Sequence[np.ndarray], spans: Sequence[Span], ranges: Sequence[Span]) -> np.ndarray:
    normals = [_normalised(delta, span) for delta, span in zip(deltas, spans, strict=True)]
    total, weights = np.zeros_like(deltas[0]), np.zeros_like(deltas[0])
    for k, (delta, span) in enumerate(zip(deltas, spans, strict=True)):
        weight = _scaled(_score(normals, k), ranges[k])
        total += weight * np.sign(delta) * np.clip(np.abs(delta), *span)
        weights += weight
    return np.divide(total, weights, out=np.zeros_like(total), where=weights > 0)


def _by_chunks(deltas: Sequence[np.ndarray], formula: Callable[[Sequence[np.ndarray]], np.ndarray]) -> np.ndarray:
    starts = range(0, len(deltas[0]), CHUNK)
    return np.concatenate([formula([delta[start : start + CHUNK] for delta in deltas]) for start in starts])


def _quantiles(vector: Vector, clamp: float) -> Span:
    cut = share_of(clamp, len(vector))
    low, high = nth_smallest(mapped(np.abs, vector), [cut, len(vector) - 1 - cut])
    return low.value, high.value


def _kept_scores(scores: Vector, ratio: float) -> Span:
    """The lowest and the highest of the `ratio` · N highest scores, exactly."""
    size = len(scores)
    kept = max(1, share_of(ratio, size))
    ranked = nth_smallest(mapped(lambda part: np.maximum(part, 0), scores), [size - kept, size - 1])
    low, high = (found.value for found in ranked)
    if low > 0:
        return low, high
    # Order statistics are of values from 0 up, so scores below are counted from the other side. The highest of all
    # is not among these: a task's smallest entry has the score 0.
    (lowest,) = nth_smallest(mapped(lambda part: np.maximum(-part, 0), scores), [kept - 1])
    return -lowest.value, high


def _scores_of(vectors: Sequence[Vector], spans: Sequence[Span], k: int) -> Vector:
    def score(deltas: Sequence[np.ndarray]) -> np.ndarray:
        return _score([_normalised(delta, span) for delta, span in zip(deltas, spans, strict=True)], k)

    return mapped(lambda *deltas: _by_chunks(deltas, score), *vectors)


def _score(normals: Sequence[np.ndarray], k: int) -> np.ndarray:
    normal = normals[k]
    agreement = np.zeros(len(normal))  # float64: the order of tasks must not decide which entries are kept
    for other in normals:
        agreement += np.tanh(normal * other)
    return (np.exp(len(normals) * (normal**2 - 1)) * agreement).astype(np.float32)


def _normalised(delta: np.ndarray, span: Span) -> np.ndarray:
    return np.sign(delta) * _scaled(np.abs(delta), span)


def _scaled(values: np.ndarray, span: Span) -> np.ndarray:
    """`span` linearly to 0 … 1 and what lies outside of it to its ends; all to 0 if it is empty."""
    low, high = span
    if not high > low:
        return np.zeros_like(values)
    return (np.clip(values, low, high) - low) / (high - low)
