"""What the arithmetic sees of a flat vector, wherever it lies: on disk, in memory, or not computed yet."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.layout import BLOCK, blocks, cut
from tatr.vectors.threads import in_order

STRIP = 2**16
"""Entries to which a formula is applied at once: what it makes on the way (256 KiB each) stays in a core's cache."""


class Vector(Protocol):
    """A length N and any slice, as float32 (bool for masks). Several threads may read it at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, block: slice, /) -> np.ndarray: ...


def mapped(f: Callable[..., Any], *vectors: Vector) -> Vector:
    """The vector whose entries are f of the vectors' entries, computed slice by slice on access.

    Args:
        f: takes one array per vector, all of the same entries, and gives these entries of the result as a new array;
            entry by entry, so that it does not matter how they are cut.
        vectors: each [N]; one that is given twice is read once.

    Raises:
        TatrError: the vectors differ in length.
    """
    distinct = {id(vector): vector for vector in vectors}

    def part(block: slice) -> np.ndarray:
        entries = {key: vector[block] for key, vector in distinct.items()}
        parts = [entries[id(vector)] for vector in vectors]
        if isinstance(f, np.ufunc):  # makes nothing on the way
            values: np.ndarray = f(*parts, out=_place(f, parts) if gives_new(vectors[0]) else None)
            return values
        return joined([f(*(part[strip] for part in parts)) for strip in strips(block)])

    return replace(computed(part, *vectors), gives_new=isinstance(f, np.ufunc))


def computed(part: Callable[[slice], np.ndarray], *vectors: Vector) -> "_Computed":
    """The vector of which `part` computes any slice from the same slices of other vectors, on access.

    Unlike the formula of `mapped`, `part` reads the vectors itself, so it need not hold all of them at once.

    Args:
        part: takes a slice and gives these entries of the result as a new array; on any thread.
        vectors: what it reads, each [N].

    Raises:
        TatrError: the vectors differ in length.
    """
    return _Computed(part, common_length(vectors), max(grain(vector) for vector in vectors))


def total(vectors: Sequence[Vector]) -> Vector:
    """Σ_k v_k, added in the order given; one of them is in memory at a time."""

    def part(block: slice) -> np.ndarray:
        added = vectors[0][block]
        if not gives_new(vectors[0]):
            added = added.copy()
        for vector in vectors[1:]:
            added += vector[block]
        return added

    return computed(part, *vectors)


@dataclass(frozen=True)
class _Computed:
    part: Callable[[slice], np.ndarray]
    size: int
    grain: int
    gives_new: bool = False

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        return self.part(block)


def remembered(vector: Vector) -> Vector:
    """The same vector, of which each thread keeps the block (of at most `BLOCK` entries) that it read last."""
    return _Remembered(vector)


class _Remembered:
    def __init__(self, vector: Vector) -> None:
        self.vector, self.grain, self._last = vector, grain(vector), threading.local()

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        last = self._last.__dict__
        if block != last.get("block"):
            last.clear()  # before the next is computed
            entries = self.vector[block]
            if block.stop - block.start > BLOCK:
                return entries
            entries.flags.writeable = False
            last["block"], last["entries"] = block, entries
        kept: np.ndarray = last["entries"]
        return kept


def grain(vector: Vector) -> int:
    """How many entries are read at least, to get one: a store is read by whole chunks, an array entry by entry."""
    return int(getattr(vector, "grain", 1))


def gives_new(vector: Vector) -> bool:
    """Whether each slice is a new array, which whoever reads it may write over; one of an array in memory is not.

    A vector says so with an attribute of this name.
    """
    return bool(getattr(vector, "gives_new", False))


def _place(f: np.ufunc, parts: Sequence[np.ndarray]) -> np.ndarray | None:
    """The first operand, if the result may stand in its place: a block that is in the cache already."""
    fits = f.resolve_dtypes((*(part.dtype for part in parts), None))[-1] == parts[0].dtype
    return parts[0] if fits else None


def common_length(vectors: Iterable[Vector]) -> int:
    """N of vectors that are to be combined.

    Raises:
        TatrError: the vectors differ in length.
    """
    lengths = {len(vector) for vector in vectors}
    if len(lengths) != 1:
        stated = ", ".join(f"{length:,}" for length in sorted(lengths))
        raise TatrError(f"vectors of {stated} entries can't be combined; they belong to different encoders")
    return lengths.pop()


def read(vector: Vector) -> Iterator[np.ndarray]:
    """All blocks of a vector, in order, computed on the job's threads."""
    return in_order(vector.__getitem__, blocks(len(vector)))


def whole(vector: Vector, dtype: type = np.float32) -> np.ndarray:
    """All entries of a vector as one array [N], read block by block on the job's threads."""
    return section(vector, slice(0, len(vector)), dtype)


def section(vector: Vector, inside: slice, dtype: type = np.float32) -> np.ndarray:
    """The entries of a slice as one array, read block by block on the job's threads: stores hold whole blocks."""
    entries: np.ndarray = np.empty(inside.stop - inside.start, dtype)

    def fill(part: slice) -> None:
        entries[part.start - inside.start : part.stop - inside.start] = vector[part]

    edges = [inside.start, *range(inside.start - inside.start % BLOCK + BLOCK, inside.stop, BLOCK), inside.stop]
    for _ in in_order(fill, map(slice, edges, edges[1:])):
        pass
    return entries


def strips(block: slice) -> list[slice]:
    """A block cut into strips of at most `STRIP` entries, counted from the block's beginning."""
    size = block.stop - block.start
    return [*cut(slice(0, size), STRIP)] or [slice(0, 0)]


def joined(parts: list[np.ndarray]) -> np.ndarray:
    """Consecutive strips as one array."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def recut(parts: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Consecutive parts of any shape and length, say one per parameter, as the blocks that stores are written in.

    Args:
        parts: that together have `size` entries.
        size: N.
    """
    return regrouped(parts, (block.stop - block.start for block in blocks(size)))


def regrouped(parts: Iterable[np.ndarray], lengths: Iterable[int]) -> Iterator[np.ndarray]:
    """Consecutive parts of any shape and length as consecutive parts of the given lengths, each [length]."""
    waiting: list[np.ndarray] = []
    parts = iter(parts)
    for wanted in lengths:
        while (there := sum(len(part) for part in waiting)) < wanted:
            waiting.append(next(parts).reshape(-1))
        whole = waiting[0] if len(waiting) == 1 else np.concatenate([np.empty(0, np.float32), *waiting])
        yield whole[:wanted]
        waiting = [whole[wanted:]] if there > wanted else []
