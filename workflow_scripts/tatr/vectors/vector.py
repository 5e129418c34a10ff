"""What the arithmetic sees of a flat vector, wherever it lies: on disk, in memory, or not computed yet."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.layout import BLOCK, blocks

PIECE = 2**20
"""Entries computed at once where all tasks' are held several times (4 MiB each, and whole chunks of a store)."""


class Vector(Protocol):
    """A length N and any slice, as float32 (bool for masks)."""

    def __len__(self) -> int: ...

    def __getitem__(self, block: slice, /) -> np.ndarray: ...


def mapped(f: Callable[..., Any], *vectors: Vector) -> Vector:
    """The vector whose entries are f of the vectors' entries, computed slice by slice on access.

    Lazy vectors are combined here alone, so threads over blocks, or arrays of another library, enter here.

    Args:
        f: takes one block per vector, all of the same entries, and gives these entries of the result as a new array;
            entry by entry, so that it does not matter how blocks are cut.
        vectors: each [N]; one that is given twice is read once.

    Raises:
        TatrError: the vectors differ in length.
    """
    if len(lengths := {len(vector) for vector in vectors}) != 1:
        stated = ", ".join(f"{length:,}" for length in sorted(lengths))
        raise TatrError(f"vectors of {stated} entries can't be combined; they belong to different encoders")
    return _Mapped(f, vectors)


@dataclass(frozen=True)
class _Mapped:
    f: Callable[..., Any]
    vectors: tuple[Vector, ...]

    def __len__(self) -> int:
        return len(self.vectors[0])

    def __getitem__(self, block: slice, /) -> np.ndarray:
        distinct = {id(vector): vector for vector in self.vectors}

        def part(block: slice) -> np.ndarray:
            entries = {key: vector[block] for key, vector in distinct.items()}
            values: np.ndarray = self.f(*(entries[id(vector)] for vector in self.vectors))
            return values

        # Of many vectors, whole blocks at a time would take memory that grows fast with their number.
        return by_pieces(block, part) if len(distinct) > 3 and block.stop - block.start > PIECE else part(block)


def remembered(vector: Vector) -> Vector:
    """The same vector, keeping the block (of at most `BLOCK` entries) that it gave last: it is read once per task."""
    return _Remembered(vector)


class _Remembered:
    def __init__(self, vector: Vector) -> None:
        self.vector = vector
        self._block, self._entries = slice(0, 0), np.empty(0)

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        if block == self._block:
            return self._entries
        entries = self.vector[block]
        if block.stop - block.start <= BLOCK:
            entries.flags.writeable = False
            self._block, self._entries = block, entries
        return entries


def read(vector: Vector) -> Iterator[np.ndarray]:
    """All blocks of a vector, in order."""
    return (vector[block] for block in blocks(len(vector)))


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
