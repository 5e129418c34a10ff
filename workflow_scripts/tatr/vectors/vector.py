"""What the arithmetic sees of a flat vector, wherever it lies: on disk, in memory, or not computed yet."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from tatr.vectors.layout import Parameter, blocks

PIECE = 2**20
"""Entries computed at once where all tasks' are held several times (4 MiB each, and whole chunks of a store)."""


class Vector(Protocol):
    """A length N and any slice, as float32 (bool for masks)."""

    def __len__(self) -> int: ...

    def __getitem__(self, block: slice, /) -> np.ndarray: ...


def read(vector: Vector) -> Iterator[np.ndarray]:
    """All blocks of a vector, in order."""
    return (vector[block] for block in blocks(len(vector)))


def tensors(vectors: Sequence[Vector], parameter: Parameter) -> np.ndarray:
    """One parameter of each vector, float32 [K, *shape]."""
    parts = [vector[parameter.offset : parameter.stop] for vector in vectors]
    return np.stack(parts).reshape(len(vectors), *parameter.shape)


def by_pieces(block: slice, part: Callable[[slice], np.ndarray]) -> np.ndarray:
    """A block of a vector whose entries are computed independently, put together of smaller parts to spare memory."""
    starts = range(block.start, block.stop, PIECE)
    return np.concatenate([part(slice(start, min(start + PIECE, block.stop))) for start in starts])


def recut(parts: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Consecutive parts of any shape and length, say one per parameter, as the blocks that stores are written in.

    Args:
        parts: that together have `size` entries.
        size: N.
    """
    waiting: list[np.ndarray] = []
    parts = iter(parts)
    for block in blocks(size):
        wanted = block.stop - block.start
        while (there := sum(len(part) for part in waiting)) < wanted:
            waiting.append(next(parts).reshape(-1))
        whole = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
        yield whole[:wanted]
        waiting = [whole[wanted:]] if there > wanted else []
