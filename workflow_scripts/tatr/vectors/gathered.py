"""Named tensors as one flat vector: which parameters a block overlaps, and their entries gathered from anywhere."""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tatr.vectors.layout import UNUSABLE, Layout, Parameter, all_finite


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
    """Named tensors as one flat vector; a slice reads and converts its entries only."""

    layout: Layout
    fill: Callable[[str, slice, np.ndarray], None]
    """Writes consecutive entries of a tensor (seen as flat) into an array, float32."""
    where: str
    """What error messages call the tensors."""
    advice: Callable[[str], str] = lambda name: UNUSABLE
    """What to do about a tensor of this name that is not finite."""
    gives_new = True

    def __len__(self) -> int:
        return self.layout.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        flat = np.empty(block.stop - block.start, np.float32)
        pieces = [*overlaps(self.layout, block)]
        for parameter, inside, part in pieces:
            with np.errstate(over="ignore"):  # becomes an infinity, which is refused
                self.fill(parameter.name, inside, flat[part])
        if not all_finite(flat):
            for parameter, _, part in pieces:
                parameter.check_finite(flat[part], self.where, self.advice(parameter.name))
        return flat
