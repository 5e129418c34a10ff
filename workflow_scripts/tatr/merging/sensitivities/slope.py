"""A control: the losses' slopes alone."""

from collections.abc import Sequence

from tatr.merging.sensitivities import sensitivity
from tatr.vectors.vector import Vector, total


@sensitivity("steepest left out")
def slope(gradients: Sequence[Vector]) -> Vector:
    """Ω = Σ_k G_k, whatever the updates.

    G_k is the mean absolute per-exemplar gradient of task k's loss at θ_pre. Its trust region leaves out the parameters
    that the losses react to most, even those that no task moves.
    """
    return total(gradients)
