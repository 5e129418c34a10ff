"""What the arithmetic sees of a flat vector, wherever it lies: on disk, in memory, or not computed yet."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from tatr.layout import blocks


class Vector(Protocol):
    """A length N and any slice, as float32 (bool for masks)."""

    def __len__(self) -> int: ...

    def __getitem__(self, block: slice, /) -> np.ndarray: ...


def read(vector: Vector) -> Iterator[np.ndarray]:
    """All blocks of a vector, in order."""
    return (vector[block] for block in blocks(len(vector)))
