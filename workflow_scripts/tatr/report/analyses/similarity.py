"""How alike task vectors are: angles, signs, lengths."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from tatr.report.analyses import Line, analysis
from tatr.vectors.layout import blocks
from tatr.vectors.threads import in_order
from tatr.vectors.vector import Vector, strips


class _Products(NamedTuple):
    """Sums over parameters for all pairs of tasks, each float64 [K, K]."""

    inner: np.ndarray
    """Of Δ_i ⊙ Δ_j."""
    signs: np.ndarray
    """Of sign Δ_i ⊙ sign Δ_j."""
    moved: np.ndarray
    """Parameters that both change."""


@analysis("Similarity of task vectors")
def similarity(task_vectors: Mapping[str, Vector]) -> Iterator[Line]:
    """cos(Δ_i, Δ_j), the share of equal signs, and the norms ‖Δ_i‖, for each pair of tasks.

    Signs are compared where both task vectors are not zero: two unrelated vectors agree on half of them. Products are
    added up in float64, in one pass over the vectors.

    Yields:
        `task`, `other`, `cosine`, `sign_agreement` (a share), `norm` (of `task`'s vector).
    """
    tasks = sorted(task_vectors)
    inner, signs, moved = _products([task_vectors[task] for task in tasks])
    norms = np.sqrt(inner.diagonal())
    cosines = inner / np.maximum(norms[:, None] * norms, np.finfo(float).tiny)
    agreement = (moved + signs) / (2 * np.maximum(moved, 1))
    for row, task in enumerate(tasks):
        for column, other in enumerate(tasks):
            yield {
                **{"task": task, "other": other, "cosine": float(cosines[row, column])},
                **{"sign_agreement": float(agreement[row, column]), "norm": float(norms[row])},
            }


def _products(vectors: list[Vector]) -> _Products:
    def part(block: slice) -> np.ndarray:
        entries = np.stack([vector[block] for vector in vectors])
        sums = np.zeros((3, len(vectors), len(vectors)))
        for strip in strips(block):
            values = entries[:, strip].astype(np.float64)
            signs = np.sign(entries[:, strip])  # whole numbers: exact in float32, as a strip has fewer than 2²⁴ entries
            for total, factor in zip(sums, (values, signs, np.abs(signs)), strict=True):
                total += factor @ factor.T
        return sums

    return _Products(*np.sum([*in_order(part, blocks(len(vectors[0])))], axis=0))
