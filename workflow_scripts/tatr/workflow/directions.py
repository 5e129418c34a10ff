"""Directions and their trust regions, as the steps read them that use a merge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.merging.coefficients import ByTensor, of_setting, scaled_vector
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


def with_factors(
    directions: Sequence[Vector], coefficients: Sequence[Any], layout: Layout
) -> tuple[list[Vector], list[float]]:
    """What is added to θ_pre and with which factors: v and the candidates for λ; or λ·v and 1, if λ is one per tensor.

    Args:
        directions: v, each float32 [N].
        coefficients: candidates for λ, as a job's settings have them; one where λ is one per tensor.
        layout: of the directions.

    Raises:
        TatrError: a pattern of names matches nothing.
    """
    if isinstance(by_tensor := of_setting(coefficients[0]), ByTensor):
        return [scaled_vector(direction, by_tensor, layout) for direction in directions], [1.0]
    return [*directions], [*coefficients]
