"""Exact order statistics of long non-negative vectors, without sorting them or holding them in memory.

Non-negative float32 values are ordered like their bit patterns. So a histogram of the upper 16 bits tells the bin in
which a wanted rank lies, and one pass over the vector with a histogram of that bin's lower 16 bits tells the value.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.vector import Vector, read

BINS = 2**16


class Histogram:
    """Counts of the upper 16 bits of non-negative float32 values."""

    def __init__(self, counts: np.ndarray | None = None) -> None:
        """Start from zero, or from saved counts, int64 [65536]."""
        self.counts = np.zeros(BINS, np.int64) if counts is None else counts

    @classmethod
    def load(cls, path: Path) -> "Histogram":
        """Read counts that were saved with `numpy.save`."""
        try:
            return cls(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise TatrError(f"{path}: damaged ({error}); delete {path.parent} and run again") from error

    def watch(self, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass `parts` on unchanged, counting them: the histogram costs no pass of its own."""
        for part in parts:
            self.counts += np.bincount(_bits(part) >> 16, minlength=BINS)
            yield part

    @classmethod
    def of(cls, values: Vector) -> "Histogram":
        """Count a whole vector."""
        histogram = cls()
        for _ in histogram.watch(read(values)):
            pass
        return histogram


def nth_smallest(values: Vector, ranks: Sequence[int], histogram: Histogram | None = None) -> list[float]:
    """The values of given ranks, counted from 0 at the smallest, in one pass for all of them.

    Args:
        values: ≥ 0, float32 [N].
        ranks: each in 0 … N − 1.
        histogram: of `values`, if it was taken while they were computed; else one more pass takes it.

    Raises:
        TatrError: a value is negative or NaN, or the histogram is of other values.
    """
    counts = (histogram or Histogram.of(values)).counts
    if counts.sum() != len(values):
        raise TatrError(f"histogram counts {counts.sum():,} values, but the vector has {len(values):,}")
    below = np.concatenate([[0], np.cumsum(counts)])
    bins = [int(np.searchsorted(below, rank, side="right")) - 1 for rank in ranks]
    fine = _fine_histograms(values, set(bins))
    return [_value(upper, fine[upper], rank - below[upper]) for upper, rank in zip(bins, ranks, strict=True)]


def share_of(share: float, size: int) -> int:
    """⌊share · size⌋ in decimal, as the share was written: 0.29 * 100 is 28.999999999999996 in floating point."""
    return int(Decimal(str(float(share))) * size)


def _fine_histograms(values: Vector, wanted: set[int]) -> dict[int, np.ndarray]:
    fine = {upper: np.zeros(BINS, np.int64) for upper in wanted}
    for part in read(values) if wanted else ():
        bits = _bits(part)
        for upper, counts in fine.items():
            counts += np.bincount(bits[bits >> 16 == upper] & 0xFFFF, minlength=BINS)
    return fine


def _value(upper: int, counts: np.ndarray, rank: int) -> float:
    lower = int(np.searchsorted(np.cumsum(counts), rank, side="right"))
    return float(np.uint32(upper << 16 | lower).view(np.float32))


def _bits(part: np.ndarray) -> np.ndarray:
    part = np.ascontiguousarray(part, np.float32)
    if part.size and not part.min() >= 0:
        raise TatrError("negative values or NaN where only values from 0 up can stand")
    return (part + np.float32(0)).view(np.uint32)  # + 0 turns -0.0, which would sort last, into 0.0
