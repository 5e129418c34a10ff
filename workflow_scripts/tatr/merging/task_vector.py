"""Task vectors: what fine-tuning changed."""

from collections.abc import Iterable, Iterator

import numpy as np

from tatr.vectors.vector import Vector, mapped


def task_vector(finetuned: Vector, pretrained: Vector) -> Vector:
    """Δ = θ − θ_pre, each float32 [N], computed slice by slice on access.

    Raises:
        TatrError: the models differ in length.
    """
    return mapped(np.subtract, finetuned, pretrained)


class Norm:
    """‖Δ‖, added up in float64 while the blocks pass by."""

    def __init__(self) -> None:
        """Of nothing so far."""
        self._squares = 0.0

    def of(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same blocks; the norm is theirs when all have been taken."""
        for block in blocks:
            wide = block.astype(np.float64)
            self._squares += float(wide @ wide)
            yield block

    @property
    def value(self) -> float:
        """The Euclidean norm of what has passed by."""
        return float(np.sqrt(self._squares))
