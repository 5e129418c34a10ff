"""Vectors that are computed whenever a slice of them is asked for: task vectors, Ω and masks that nobody stores."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tatr.errors import TatrError
from tatr.merging.sensitivity import sensitivity
from tatr.vectors.layout import BLOCK, Layout, Parameter
from tatr.vectors.vector import Vector


def overlaps(layout: Layout, block: slice) -> Iterator[tuple[Parameter, slice, slice]]:
    """The parameters that a block of the flat vector overlaps, each with which of its entries and where in the block.

    Yields:
        The parameter, a slice of its entries (seen as flat), and the slice of the block where they lie.
    """
    parameters = layout.parameters
    for index in range(bisect_right(parameters, block.start, key=lambda p: p.stop), len(parameters)):
        parameter = parameters[index]
        start, stop = max(parameter.offset, block.start), min(parameter.stop, block.stop)
        if parameter.offset >= block.stop:
            return
        if start < stop:
            inside = slice(start - parameter.offset, stop - parameter.offset)
            yield parameter, inside, slice(start - block.start, stop - block.start)


@dataclass(frozen=True)
class Gathered:
    """Named tensors as one flat vector; only those entries are read, and converted, that a slice asks for."""

    layout: Layout
    entries: Callable[[str, slice], np.ndarray]
    """Gives consecutive entries of a tensor (seen as flat), of any floating-point type."""
    source: str
    """What error messages call the tensors."""

    def __len__(self) -> int:
        return self.layout.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        flat = np.empty(block.stop - block.start, np.float32)
        for parameter, inside, place in overlaps(self.layout, block):
            flat[place] = self.entries(parameter.name, inside)
            if not np.isfinite(flat[place]).all():
                raise TatrError(
                    f"{self.source}: '{parameter.name}' holds NaN or infinity; the checkpoint is not usable"
                )
        return flat


class Recent:
    """A vector that remembers the block it gave last: others ask for it once per task."""

    def __init__(self, vector: Vector) -> None:
        """Remember blocks of `vector` (of at most `BLOCK` entries)."""
        self.vector = vector
        self._asked, self._given = slice(0, 0), np.empty(0)

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        if block == self._asked:
            return self._given
        given = self.vector[block]
        if block.stop - block.start <= BLOCK:
            given.flags.writeable = False
            self._asked, self._given = block, given
        return given


@dataclass(frozen=True)
class Difference:
    """A task vector Δ = θ − θ_pre."""

    model: Vector
    base: Vector

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        return self.model[block] - self.base[block]


@dataclass(frozen=True)
class Sensitivity:
    """Ω of task vectors, with gradients or (None) zero-shot; see `tatr.merging.sensitivity`."""

    task_vectors: Sequence[Vector]
    gradients: Sequence[Vector] | None = None

    def __len__(self) -> int:
        return len(self.task_vectors[0])

    def __getitem__(self, block: slice, /) -> np.ndarray:
        # Ω is taken entry by entry: that of slices is the slice of it.
        gradients = None if self.gradients is None else [_Slice(gradient, block) for gradient in self.gradients]
        parts = [*sensitivity([_Slice(vector, block) for vector in self.task_vectors], gradients)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class TrustRegion:
    """The mask Ω < ε, bool."""

    omega: Vector
    threshold: float

    def __len__(self) -> int:
        return len(self.omega)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        return self.omega[block] < self.threshold


@dataclass(frozen=True)
class _Slice:
    vector: Vector
    place: slice

    def __len__(self) -> int:
        return self.place.stop - self.place.start

    def __getitem__(self, block: slice, /) -> np.ndarray:
        return self.vector[self.place.start + block.start : self.place.start + block.stop]
