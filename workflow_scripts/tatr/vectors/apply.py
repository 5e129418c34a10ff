"""θ_pre + λ·v, the merged model: the one place where it is computed."""

from collections.abc import Iterable, Iterator

import numpy as np

from tatr.vectors.layout import blocks
from tatr.vectors.vector import Vector, mapped


def apply(pretrained: Vector, direction: Vector, coefficient: float, mask: Vector | None = None) -> Vector:
    """θ_pre + λ·v, or θ_pre + λ·(v ⊙ mask), computed slice by slice on access.

    Args:
        pretrained: θ_pre, float32 [N].
        direction: v, float32 [N].
        coefficient: λ, taken as float32.
        mask: True where v counts, bool [N]; None for everywhere.

    Raises:
        TatrError: the vectors differ in length.
    """
    if mask is not None:
        direction = mapped(np.multiply, direction, mask)
    return mapped(lambda base, part: _moved(base, part, coefficient), pretrained, direction)


def apply_parts(pretrained: Vector, parts: Iterable[np.ndarray], coefficient: float) -> Iterator[np.ndarray]:
    """Blocks of θ_pre + λ·v, in order, for a direction that comes block by block, as merging methods yield it.

    Args:
        pretrained: θ_pre, float32 [N].
        parts: blocks of v, cut as `blocks(N)` cuts.
        coefficient: λ, taken as float32.

    Raises:
        ValueError: there are too few or too many parts.
    """
    for block, part in zip(blocks(len(pretrained)), parts, strict=True):
        yield _moved(pretrained[block], part, coefficient)


def _moved(base: np.ndarray, part: np.ndarray, coefficient: float) -> np.ndarray:
    moved: np.ndarray = base + np.float32(coefficient) * part
    return moved
