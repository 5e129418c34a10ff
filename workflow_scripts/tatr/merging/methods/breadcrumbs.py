"""Model Breadcrumbs: of each tensor of each task vector, drop the smallest and the very largest entries; sum."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from tatr.merging.methods import method
from tatr.merging.task_weights import Weights
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.order_statistics import share_of
from tatr.vectors.threads import in_order
from tatr.vectors.vector import Vector, recut


def _refuses(settings: Mapping[str, Any], _tasks: int) -> str | None:
    smallest, largest = settings["smallest"], settings["largest"]
    if smallest + largest < 1:
        return None
    return f"smallest = {smallest:g} and largest = {largest:g} drop everything; their sum must be less than 1"


@method("Model Breadcrumbs", coefficient=1.0, refuses=_refuses)
def breadcrumbs(
    task_vectors: Sequence[Vector],
    layout: Layout,
    weights: Weights = None,
    *,
    smallest: Annotated[float, Interval(ge=0, lt=1), "share of each tensor that is dropped as negligible"] = 0.89,
    largest: Annotated[float, Interval(ge=0, lt=1), "share of each tensor that is dropped as outliers"] = 0.01,
) -> Iterator[np.ndarray]:
    """v = Σ_k Δ_k ⊙ [low_k ≤ |Δ_k| ≤ high_k], with bounds low_k and high_k per task and parameter tensor.

    Source: Davari and Belilovsky 2023, "Model Breadcrumbs: Scaling multi-task model merging with sparse masks".

    Of a tensor with n entries, the ⌊smallest · n⌋ of smallest and the ⌊largest · n⌋ of largest magnitude are dropped;
    low_k and high_k are the smallest and the largest magnitude left. Entries equal to either are kept, so there can be
    more than set where magnitudes are equal. One entry at least is always left, as both counts are rounded down.
    With `smallest` and `largest` 0 this is Task Arithmetic.

    Defaults: the configuration that is reported as the paper's best for CLIP ViT-B/32 (issue 7 of the authors'
    repository rezazzr/breadcrumbs): 10 % kept, the largest 1 % dropped, λ = 1. Such a sparse sum needs a larger λ than
    Task Arithmetic's 0.3. The authors' search ran over 5 % to 20 % kept, 0.1 % to 1 % dropped and λ up to 1.
    Weights: what is kept of Δ_k is multiplied by w_k; the same entries are kept.
    Trust region: the mask applies to v. It does not change which entries count as small or large.
    Differences from published codes: the authors' takes the shares of every row (the last axis) of a tensor, the paper
    speaks of layers; here they are taken of whole tensors, as in mergekit. In the authors' code `top_k_keep` is
    1 − smallest − largest and `top_k_remove` is `largest`. In mergekit's `breadcrumbs`, `density` is
    1 − smallest − largest and `gamma` is `largest`, which its documentation equates with the paper's β; it rounds
    the number kept down, where here the two numbers dropped are.
    Cost: one pass over the task vectors; one parameter tensor of one task and of v is in memory at a time.
    """
    factors = [np.float32(1)] * len(task_vectors) if weights is None else [np.float32(weight) for weight in weights]
    with_entries = (parameter for parameter in layout.parameters if parameter.size)
    sums = in_order(lambda parameter: _sum(task_vectors, factors, parameter, smallest, largest), with_entries)
    return recut(sums, layout.size)


def _sum(
    task_vectors: Sequence[Vector],
    factors: Sequence[np.float32],
    parameter: Parameter,
    smallest: float,
    largest: float,
) -> np.ndarray:
    total = np.zeros(parameter.size, np.float32)
    for vector, factor in zip(task_vectors, factors, strict=True):
        entries = vector[parameter.offset : parameter.stop]
        np.add(total, factor * entries, out=total, where=_stays(np.abs(entries), smallest, largest))
    return total


def _stays(magnitudes: np.ndarray, smallest: float, largest: float) -> np.ndarray:
    size = len(magnitudes)
    first, last = share_of(smallest, size), size - 1 - share_of(largest, size)
    ordered = np.partition(magnitudes, [first, last])
    return (magnitudes >= ordered[first]) & (magnitudes <= ordered[last])
