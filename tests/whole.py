"""Merged directions as arrays, for tests."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tatr.merging.merge import MergeInputs, direction
from tatr.vectors.apply import parts_of


def whole_direction(
    method: str, inputs: MergeInputs, settings: Mapping[str, Any] | None = None, mask: np.ndarray | None = None
) -> np.ndarray:
    """v of a method, float32 [N], or v ⊙ mask as it enters a model."""
    v = np.concatenate([*parts_of(direction(method, inputs, settings))])
    return v if mask is None else v * mask
