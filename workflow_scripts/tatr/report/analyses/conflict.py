"""Knowledge conflicts, before and after the trust region (Definition 1), and what Eq. 4 predicts of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.errors import TatrError
from tatr.report.analyses import Labelled, Line, Results, analysis
from tatr.report.merge_settings import a_method, a_sensitivity
from tatr.vectors.layout import blocks
from tatr.vectors.threads import in_order
from tatr.vectors.vector import Vector, strips


@analysis("Knowledge conflicts")
def conflict(
    task_vectors: Mapping[str, Vector],
    signed_gradients: Mapping[str, Vector],
    regions: Sequence[Labelled[Vector]],
    without_one: Sequence[Labelled[Results]],
    *,
    method: Annotated[str, a_method, "that merges"] = "task_arithmetic",
    coefficient: Annotated[float, Interval(gt=0), "λ of all merges"] = 0.3,
    sensitivity: Annotated[str, a_sensitivity, "of the trust region"] = "gradient",
    tau: Annotated[float, Interval(ge=0, lt=1), "τ of the trust region"] = 0.01,
) -> Iterator[Line]:
    """C_{j|i} = L_j(merge of all) − L_j(merge of all but i), and λ⟨∇L_j, Δ_i⟩ (Def. 1 and Eq. 4, arXiv 2501.15065).

    L_j is the mean loss over task j's test images, ∇L_j the mean gradient over its exemplars at θ_pre. After the trust
    region, both merges and Δ_i are restricted to it; it stays the same whichever task is left out, so that C_{j|i} says
    what task i's own update does inside of it. The prediction is the first-order one, which is exact for small λ.

    Yields:
        `region` (`none`, or that of the trust region), `task` (j), `left_out` (i), `conflict` (nats), `predicted`.
    """
    losses: dict[tuple[str, str], Mapping[str, float]] = {}
    for merge in without_one:
        means = {task: float(its.losses.mean(dtype=np.float64)) for task, its in merge.content.predictions.items()}
        losses[merge.labels["region"], merge.labels["left_out"]] = means
    masks = {region.labels["region"]: region.content for region in regions}
    tasks = sorted(task_vectors)
    for region in dict.fromkeys(merge.labels["region"] for merge in without_one):
        slopes = _inner(signed_gradients, task_vectors, tasks, masks.get(region))
        for row, task in enumerate(tasks):
            for column, left_out in enumerate(tasks):
                if (region, left_out) not in losses:
                    raise TatrError(f"conflict: no evaluation without '{left_out}' ({region})")
                yield {
                    **{"region": region, "task": task, "left_out": left_out},
                    "conflict": losses[region, ""][task] - losses[region, left_out][task],
                    "predicted": coefficient * float(slopes[row, column]),
                }


def _inner(
    gradients: Mapping[str, Vector], task_vectors: Mapping[str, Vector], tasks: Sequence[str], mask: Vector | None
) -> np.ndarray:
    """⟨∇L_j, Δ_i ⊙ mask⟩ for all pairs, float64 [K, K] (j by i), added up in float64 in one pass."""

    def part(block: slice) -> np.ndarray:
        slopes = np.stack([gradients[task][block] for task in tasks])
        moves = np.stack([task_vectors[task][block] for task in tasks])
        if mask is not None:
            moves *= mask[block]
        sums = np.zeros((len(tasks), len(tasks)))
        for strip in strips(block):
            sums += slopes[:, strip].astype(np.float64) @ moves[:, strip].astype(np.float64).T
        return sums

    size = len(task_vectors[tasks[0]])
    total: np.ndarray = np.sum([*in_order(part, blocks(size))], axis=0)
    return total
