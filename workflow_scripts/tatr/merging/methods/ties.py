"""Ties-Merging: trim, elect signs, merge what agrees with the elected sign."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from tatr.merging.largest import thresholds_of_largest
from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, factors_of
from tatr.vectors.layout import Layout, Parameter, blocks
from tatr.vectors.order_statistics import share_of
from tatr.vectors.threads import in_order
from tatr.vectors.vector import Vector, computed, joined, strips


@method("Ties-Merging", coefficient=0.3)
def ties(
    task_vectors: Sequence[Vector],
    layout: Layout,
    weights: Weights = None,
    *,
    density: Annotated[
        float, Interval(gt=0, le=1), "share of each task vector that is kept, the largest entries"
    ] = 0.2,
    combine: Annotated[Literal["sum", "mean"], "of the entries that agree with the elected sign"] = "sum",
    scope: Annotated[Literal["model", "tensor"], "what one threshold is taken over"] = "model",
) -> Vector:
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
    Weights: w_k Δ'_k takes the place of Δ'_k, so weights count in the election, too; the mean is a weighted one. What
    is trimmed stays the same.
    Trust region: the mask applies to v (Eq. 11 of arXiv 2501.15065). It does not change which entries are trimmed or
    which sign is elected.
    Differences from published codes: the authors' keeps one entry more per task, sums in float32, so that a sign may
    depend on the order of tasks, and takes a majority of zero for negative. Checkpoints that carry text tensors along
    count them in N: they never move, so the same density keeps more of the image encoder there than here. mergekit
    works as `scope: tensor`, but breaks ties of magnitude by position and rounds shares in binary.
    Cost: two passes over the task vectors, of which the first finds all thresholds; one more over those in stores, to
    sample them, and one more if trimmed entries cancel exactly anywhere. One block of each is in memory per thread.

    Raises:
        TatrError: the density is so small that nothing is kept.
    """
    elected = elect(task_vectors, layout, density, scope, weights)
    shares = None if combine == "sum" else factors_of(weights, len(task_vectors))

    def merged(block: slice) -> np.ndarray:
        return joined([_combined(entries, shares) for entries in elected.strips(block)])

    return computed(merged, *task_vectors)


def elect(
    task_vectors: Sequence[Vector],
    layout: Layout,
    density: float,
    scope: Literal["model", "tensor"] = "model",
    weights: Weights = None,
) -> "Elected":
    """Trim all task vectors and elect signs; thresholds are computed here, the rest block by block on access.

    Args:
        task_vectors: Δ_k, each [N].
        layout: of the vectors; only `scope` "tensor" looks at it.
        density: share of entries kept per task, in (0, 1].
        scope: whether one threshold is taken over the model or over each parameter tensor.
        weights: of the tasks, by which what is left of each task vector is multiplied.

    Raises:
        TatrError: the density is so small that nothing is kept.
    """
    if scope == "tensor":
        parameters = [parameter for parameter in layout.parameters if parameter.size]
        rows = in_order(lambda parameter: _of_tensor(task_vectors, parameter, density), parameters)
        return Elected(task_vectors, [parameter.offset for parameter in parameters], np.array([*rows]).T, weights)
    return Elected(task_vectors, [0], thresholds_of_largest(task_vectors, density)[:, None], weights)


class Elected:
    """The entries of task vectors that are kept and have the elected sign, zero elsewhere."""

    def __init__(
        self, task_vectors: Sequence[Vector], starts: Sequence[int], thresholds: np.ndarray, weights: Weights = None
    ) -> None:
        """Of Δ_k, with thresholds [K, len(starts)], each from one of the starts to the next; times weights [K]."""
        self.task_vectors, self.starts = task_vectors, starts
        self.factors = None if weights is None else np.array(weights, np.float32)[:, None]
        self.thresholds = thresholds.astype(np.float32)
        self._majority: np.float32 | None = None
        self._lock = Lock()

    def __call__(self, block: slice) -> np.ndarray:
        """A block of n entries of each Δ_k, float32 [K, n], as a new array."""
        return np.concatenate([*self.strips(block)], axis=1)

    def strips(self, block: slice) -> Iterator[np.ndarray]:
        """The same in consecutive strips, each float32 [K, n]."""
        for entries in self._trimmed(block):
            signs = _signs(entries)
            cancelled = (signs == 0) & (entries != 0).any(axis=0)
            if cancelled.any():
                signs[cancelled] = self._majority_sign()
            for row in entries:  # not all at once: what is made on the way stays in a core's cache
                row *= row * signs > 0
            yield entries

    def _trimmed(self, block: slice) -> Iterator[np.ndarray]:
        parts = [vector[block] for vector in self.task_vectors]
        for strip in strips(block):
            first, stop = block.start + strip.start, block.start + strip.stop
            ends = [*self.starts[1:], stop]
            entries = np.empty((len(parts), stop - first), np.float32)
            for index in range(bisect_right(self.starts, first) - 1, bisect_left(self.starts, stop)):
                inside = slice(max(self.starts[index] - first, 0), min(ends[index], stop) - first)
                for row, part, threshold in zip(entries, parts, self.thresholds[:, index], strict=True):
                    given = part[strip][inside]
                    # Much faster than assigning zero where a mask says so.
                    np.multiply(given, np.abs(given) >= threshold, out=row[inside])
            if self.factors is not None:
                entries *= self.factors
            yield entries

    def _majority_sign(self) -> np.float32:
        with self._lock:  # one thread computes it, the others wait
            if self._majority is None:
                # Of whole numbers, so exact, and the same for any block size.
                sums = in_order(self._sum_of_signs, blocks(len(self.task_vectors[0])))
                self._majority = np.float32(np.sign(sum(sums)))
            return self._majority

    def _sum_of_signs(self, block: slice) -> int:
        return sum(int(_signs(entries).sum(dtype=np.float64)) for entries in self._trimmed(block))


def _combined(entries: np.ndarray, weights: Weights) -> np.ndarray:
    """The sum of the entries, weighted already; with weights their mean."""
    total: np.ndarray = entries.sum(axis=0) + np.float32(0)  # + 0 turns the zeros of negative entries into 0.0
    if weights is None:
        return total
    shares = sum(weight * (row != 0) for weight, row in zip(weights, entries, strict=True))
    mean: np.ndarray = total / np.where(shares == 0, 1, shares).astype(np.float32)
    return mean


def _signs(entries: np.ndarray) -> np.ndarray:
    # A float64 sum of a few float32 values is all but exact: no sign depends on the order of the tasks.
    total = entries[0].astype(np.float64)
    for row in entries[1:]:
        total += row
    return np.sign(total).astype(np.float32)


def _of_tensor(task_vectors: Sequence[Vector], parameter: Parameter, density: float) -> list[float]:
    rank = parameter.size - max(share_of(density, parameter.size), 1)
    magnitudes = (np.abs(vector[parameter.offset : parameter.stop]) for vector in task_vectors)
    return [float(np.partition(its, rank)[rank]) for its in magnitudes]
