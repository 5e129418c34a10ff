"""How alike trust regions are."""

from collections.abc import Iterator, Sequence

import numpy as np

from tatr.report.analyses import Labelled, Line, analysis
from tatr.vectors.layout import blocks
from tatr.vectors.threads import in_order
from tatr.vectors.vector import Vector, strips


@analysis("Overlap of trust regions", seeds="together")
def overlap(masks: Sequence[Labelled[Vector]]) -> Iterator[Line]:
    """J(A, B) = |A ∩ B| / |A ∪ B|, of the parameters that two trust regions of one size leave out (Jaccard 1912).

    Pairs across sensitivities, numbers of exemplars and seeds. Two regions that know nothing of each other have
    τ / (2 − τ).

    Yields:
        `region`, `seed`, `other`, `other_seed`, `tau`, `jaccard`.
    """
    common = _common([mask.content for mask in masks])
    sizes = common.diagonal()
    for row, one in enumerate(masks):
        for column, other in enumerate(masks):
            if one.labels["tau"] is None or one.labels["tau"] != other.labels["tau"]:
                continue  # regions without τ are of any size
            union = sizes[row] + sizes[column] - common[row, column]
            yield {
                **{"region": one.labels["region"], "seed": one.labels["seed"]},
                **{"other": other.labels["region"], "other_seed": other.labels["seed"], "tau": one.labels["tau"]},
                "jaccard": float(common[row, column] / union) if union else 1.0,
            }


def _common(masks: Sequence[Vector]) -> np.ndarray:
    """How many parameters each two masks both leave out, float64 [M, M]."""

    def part(block: slice) -> np.ndarray:
        left_out = np.stack([~mask[block] for mask in masks])
        counts = np.zeros((len(masks), len(masks)))
        for strip in strips(block):
            values = left_out[:, strip].astype(np.float32)  # counts below 2²⁴ are exact
            counts += values @ values.T
        return counts

    total: np.ndarray = np.sum([*in_order(part, blocks(len(masks[0])))], axis=0)
    return total
