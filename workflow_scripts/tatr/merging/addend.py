"""What a merge adds to θ_pre: the method's direction times λ, then calibrated; the mask comes after."""

from collections.abc import Mapping
from typing import Any

from tatr.merging.calibration import alpha_of, calibrated, check_calibration
from tatr.merging.coefficients import ByTensor, per_tensor, scaled
from tatr.merging.merge import MergeInputs, direction
from tatr.merging.methods import load
from tatr.vectors.apply import Direction


def addend(
    method: str,
    inputs: MergeInputs,
    settings: Mapping[str, Any],
    coefficient: float | ByTensor,
    calibration: str | None = None,
) -> tuple[Direction, float]:
    """A direction and the factor with which it is added to θ_pre: λ where it is one number and nothing is calibrated.

    Args:
        method: a name of `tatr.merging.methods`.
        inputs: as for `direction`, with a layout.
        settings: the method's.
        coefficient: λ.
        calibration: of the singular values, a name of `tatr.merging.calibration`; None for none.

    Raises:
        TatrError: as `direction` does; or the calibration is unknown or not defined for the method, or a pattern of λ
            matches nothing.
    """
    check_calibration(calibration, load(method))
    v, layout = direction(method, inputs, settings), inputs.layout
    if calibration is not None:
        assert layout
        alpha = alpha_of(load(method), len(inputs.task_vectors))
        return calibrated(v, inputs.task_vectors, layout, per_tensor(coefficient, layout), alpha), 1.0
    if isinstance(coefficient, ByTensor):
        assert layout
        return scaled(v, coefficient, layout), 1.0
    return v, coefficient
