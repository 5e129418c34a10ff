"""A control: the updates' sizes alone."""

from collections.abc import Sequence

from tatr.merging.sensitivities import magnitudes, sensitivity
from tatr.vectors.vector import Vector, total


@sensitivity("largest updates left out")
def magnitude(task_vectors: Sequence[Vector]) -> Vector:
    """Ω = Σ_k |Δ_k|, whatever the losses.

    Its trust region leaves out the parameters that fine-tuning moved most. Where it does as well as another region, the
    gradients of that one were not what mattered.
    """
    return total(magnitudes(task_vectors))
