"""θ_pre + λ·v, the merged model: the one place where it is computed, inside a trust region if there is one."""

from collections.abc import Iterator

import numpy as np

from tatr.vectors.vector import Vector, mapped, read

Direction = Vector | Iterator[np.ndarray]
"""v, float32 [N]: a vector where any block can be computed by itself, else its blocks in order, as `blocks(N)` cuts."""


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

    def formula(base: np.ndarray, part: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):  # whoever uses the model looks at the outcome
            return base + np.float32(coefficient) * (part if kept is None else part * kept)

    return mapped(formula, pretrained, direction, *([] if mask is None else [mask]))


def applied(
    pretrained: Vector, direction: Direction, coefficient: float, mask: Vector | None = None
) -> Iterator[np.ndarray]:
    """Blocks of `apply`, in order, for a direction of either kind.

    Raises:
        TatrError: the vectors differ in length.
        ValueError: a direction that comes in blocks has too few or too many.
    """
    if not isinstance(direction, Iterator):
        yield from read(apply(pretrained, direction, coefficient, mask))
        return
    masks = [read(mask)] if mask is not None else []
    for base, part, *kept in zip(read(pretrained), direction, *masks, strict=True):
        yield from read(apply(base, part, coefficient, *kept))


def parts_of(direction: Direction) -> Iterator[np.ndarray]:
    """Blocks of a direction of either kind, in order."""
    return direction if isinstance(direction, Iterator) else read(direction)
