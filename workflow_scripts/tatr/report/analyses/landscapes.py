"""Loss landscapes around the components of merged task vectors (Fig. 2b, 2c, 5 and 6)."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.report.analyses import Labelled, Line, LossPlane, analysis


def _shares(taus: Sequence[float]) -> None:
    if not taus or not all(0 < tau < 1 for tau in taus):
        raise ValueError("expected one share or more, each above 0 and below 1")
    if len(set(taus)) < len(taus):
        raise ValueError("lists a share twice")


def _some(tasks: Sequence[str] | None) -> None:
    if tasks is not None and len(set(tasks)) < len(tasks):
        raise ValueError("lists a task twice")


@analysis("Loss landscapes", seeds="first")
def landscapes(
    landscapes: Sequence[Labelled[LossPlane]],
    *,
    tasks: Annotated[tuple[str, ...] | None, "those with a landscape of their own; null takes all", _some] = None,
    total: Annotated[bool, "the landscape of all tasks together, too"] = True,
    taus: Annotated[
        tuple[float, ...],
        "shares of the parameters that are positive or negative; a task's own takes the first",
        _shares,
    ] = (0.01,),
    coefficient: Annotated[float, Interval(gt=0), "λ"] = 0.3,
    images: Annotated[
        int, Interval(ge=1), "test images at each point, shared evenly among its tasks; all where there are fewer"
    ] = 256,
    steps: Annotated[int, Interval(ge=2), "points along each axis"] = 15,
) -> Iterator[Line]:
    """L(θ_pre + (1 − x − y)·Δ⊥ + x·Δ⁺ + y·Δ⁻) over the plane of the three components (App. B of arXiv 2501.15065).

    The components are those of λ Σ_{i≠j} Δ_i for the landscape of task j (Fig. 5), entry by entry: Δ⁺ and Δ⁻ are the
    share τ with the largest |∇L_j ⊙ Σ_{i≠j} Δ_i|, by its sign, and Δ⊥ is the rest. For that of all tasks (Fig. 6) they
    are those of λ Σ_i Δ_i, by Σ_{i≠j} ∇L_j ⊙ Δ_i, and losses are summed over tasks. The paper gives no number for τ;
    its landscapes of all tasks are of several mask ratios. θ_pre is projected on the plane by least squares.
    Of several seeds the first one's are measured: they are pictures, and take longest.

    Yields:
        `landscape` (a task, or `all`), `tau`, `point` (`grid`, or `pretrained`: where θ_pre is projected to), `x`, `y`,
        `loss` (nats), `accuracy` (in [0, 1], the mean over tasks), `distance` (of θ_pre from the plane).
    """
    for one in landscapes:
        named = {"landscape": one.labels["landscape"], "tau": one.labels["tau"]}
        points: dict[tuple[float, float], list[tuple[float, float]]] = {}
        for line in one.content.points:
            points.setdefault((line["x"], line["y"]), []).append((line["loss"], line["accuracy"]))
        for (x, y), measured in points.items():
            losses, accuracies = zip(*measured, strict=True)
            figures = {"loss": float(np.sum(losses)), "accuracy": float(np.mean(accuracies))}
            yield {**named, "point": "grid", "x": x, "y": y, **figures, "distance": float("nan")}
        nothing = {"loss": float("nan"), "accuracy": float("nan")}
        at = one.content.plane["pretrained"]
        yield {**named, "point": "pretrained", "x": at["x"], "y": at["y"], **nothing, "distance": at["distance"]}
