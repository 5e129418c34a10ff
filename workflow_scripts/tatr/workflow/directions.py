"""Directions and their trust regions, as the steps read them that use a merge."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.merging.coefficients import ByTensor, scaled_vector
from tatr.vectors.layout import Layout
from tatr.vectors.store import open_vectors
from tatr.vectors.vector import Vector, mapped


def open_directions(directions: Sequence[Path], masks: Sequence[Path], layout: str) -> list[Vector]:
    """Directions v, each float32 [N], restricted to trust regions: v ⊙ mask, computed on access and never stored.

    Args:
        directions: stores of v.
        masks: stores of masks, one per candidate: of one direction, or of one each; none restricts nothing.
        layout: digest of the layout that all must have.

    Raises:
        TatrError: there are more directions than one but not one per mask, or one is of another encoder.
    """
    if len(directions) > 1 and masks and len(directions) != len(masks):
        raise TatrError(
            f"--directions: got {len(directions)}, but {len(masks)} masks; give one direction for all masks, or one "
            "per mask, in the same order"
        )
    if masks and not directions:
        raise TatrError(f"--masks: got {len(masks)}, but no direction that they restrict")
    opened = open_vectors([*directions, *masks], layout)
    vectors, regions = opened[: len(directions)], opened[len(directions) :]
    if not regions:
        return [*vectors]
    return [mapped(np.multiply, vectors[min(index, len(vectors) - 1)], mask) for index, mask in enumerate(regions)]


def scaled_by_tensor(directions: Sequence[Vector], settings: Mapping[str, Any], layout: Layout) -> list[Vector]:
    """λ·v, where a step's settings have λ per tensor (`by_tensor`); else the directions as they are.

    Raises:
        TatrError: a pattern of names matches nothing.
    """
    if "by_tensor" not in settings:
        return [*directions]
    return [scaled_vector(direction, ByTensor.load(settings["by_tensor"]), layout) for direction in directions]
