"""How sensitive each layer is (Fig. 4)."""

from collections.abc import Iterator, Mapping

import numpy as np

from tatr.merging.layers import places, sums_by_parameter
from tatr.report.analyses import Line, analysis
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector, mapped, total


@analysis("Sensitivity of layers")
def layers(task_vectors: Mapping[str, Vector], gradients: Mapping[str, Vector], layout: Layout) -> Iterator[Line]:
    """Mean over a layer's parameters of Ω_j = G_j ⊙ Σ_{i≠j} |Δ_i|, for each task j (Fig. 4 of arXiv 2501.15065).

    Ω_j is what task j contributes to Ω (Eq. 8): how strongly its loss reacts to the other tasks' updates. Weights and
    biases are told apart; those of LayerNorm count as both, as they are called.

    Yields:
        `task`, `depth` (0 before the residual blocks, 1 … L for these, L + 1 after), `kind` (weight or bias),
        `sensitivity` (mean of Ω_j), `parameters` (how many).
    """
    found = places(layout)
    groups = sorted({(place.depth, place.kind) for place in found})
    sizes = np.array([parameter.size for parameter in layout.parameters])
    for task in sorted(task_vectors):
        others = [mapped(np.abs, task_vectors[other]) for other in sorted(task_vectors) if other != task]
        sums = sums_by_parameter(mapped(np.multiply, gradients[task], total(others)), layout)
        for depth, kind in groups:
            inside = [place.depth == depth and place.kind == kind for place in found]
            count = int(sizes[inside].sum())
            line = {"task": task, "depth": depth, "kind": kind, "sensitivity": float(sums[inside].sum() / count)}
            yield line | {"parameters": count}
