"""Exact order statistics of long non-negative vectors, without sorting them or holding them in memory.

A sorted sample gives two values between which a wanted rank lies, almost surely. One pass then counts exactly what is
smaller than them and keeps the few entries between them, among which the value is found. Where the sample misled, two
more passes find it with histograms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.layout import blocks
from tatr.vectors.threads import in_order
from tatr.vectors.vector import Vector, grain, read, strips

SAMPLE = 2**18
"""Entries of each vector that are sampled, about."""

RUN = 512
"""How many of them lie side by side where short slices can be read."""

MARGIN = 0.01
"""Share of the sample on either side of a rank within which its value is expected, at most."""

CANDIDATES = 2**24
"""Entries that are kept to find values among, at most (64 MiB), for all vectors and ranks together."""

BINS = 2**16


class Ranked(NamedTuple):
    """An order statistic."""

    value: float
    smaller: int
    """How many entries are smaller than it."""


def nth_smallest(values: Vector, ranks: Sequence[int]) -> list[Ranked]:
    """The values of given ranks, counted from 0 at the smallest.

    Args:
        values: ≥ 0, float32 [N].
        ranks: each in 0 … N − 1.

    Raises:
        TatrError: a value is negative or NaN.
    """
    return nth_smallest_of_each([values], [ranks])[0]


def nth_smallest_of_each(
    vectors: Sequence[Vector], ranks: Sequence[Sequence[int]], samples: Sequence[np.ndarray] | None = None
) -> list[list[Ranked]]:
    """The same of several vectors, block by block of all of them: what they have in common is read once.

    Args:
        vectors: each ≥ 0, float32 [N].
        ranks: of each vector.
        samples: entries of each vector, where they are known already; else they are taken first (`sampled`).
    """
    size, wanted = len(vectors[0]), sum(len(its) for its in ranks)
    margin = min(MARGIN, CANDIDATES / (3 * size * max(wanted, 1)))
    ordered = [np.sort(_checked(sample)) for sample in samples or sampled(vectors)]
    spans = [
        [_Span.around(rank / size, margin, sample) for rank in its] for its, sample in zip(ranks, ordered, strict=True)
    ]

    def count(block: slice) -> list[list[_Counts]]:
        parts = (vector[block] for vector in vectors)
        return [_count(part, its) for part, its in zip(parts, spans, strict=True)]

    totals = [[_Counts() for _ in its] for its in ranks]
    for counts in in_order(count, blocks(size)):
        for its, others in zip(totals, counts, strict=True):
            for total, more in zip(its, others, strict=True):
                total.add(more, CANDIDATES // max(wanted, 1))
    return [
        [span.find(rank, total) or _by_histograms(vector, rank) for rank, span, total in zip(*its, strict=True)]
        for vector, *its in zip(vectors, ranks, spans, totals, strict=True)
    ]


def share_of(share: float, size: int) -> int:
    """⌊share · size⌋ in decimal, as the share was written: 0.29 * 100 is 28.999999999999996 in floating point."""
    return int(Decimal(str(float(share))) * size)


@dataclass
class _Counts:
    """Of entries, against a span."""

    smaller: int = 0
    low: int = 0
    """How many equal its lower end."""
    inside: int = 0
    """How many lie between its ends."""
    between: list[np.ndarray] | None = field(default_factory=list)
    """These, in any order; None if they are too many to be kept."""
    high: int = 0
    """How many equal its upper end."""

    def add(self, other: "_Counts", most: int) -> None:
        self.smaller += other.smaller
        self.low += other.low
        self.inside += other.inside
        self.high += other.high
        if self.between is not None and other.between is not None and self.inside <= most:
            self.between += other.between
        else:
            self.between = None


class _Span(NamedTuple):
    """Where a value is expected. Entries equal to its ends are counted, not kept, as there may be many."""

    low: float
    high: float

    @classmethod
    def around(cls, share: float, margin: float, sample: np.ndarray) -> "_Span":
        low, high = int((share - margin) * len(sample)) - 1, int((share + margin) * len(sample)) + 1
        return cls(float(sample[low]) if low >= 0 else -1, float(sample[high]) if high < len(sample) else np.inf)

    def find(self, rank: int, counts: _Counts) -> Ranked | None:
        """The value of a rank among the entries counted, if it lies here."""
        if counts.between is None or rank < counts.smaller:
            return None
        if (place := rank - counts.smaller) < counts.low:
            return Ranked(self.low, counts.smaller)
        between = np.concatenate(counts.between) if counts.between else np.empty(0, np.float32)
        if (place := place - counts.low) < len(between):
            value = np.partition(between, place)[place]
            return Ranked(float(value), counts.smaller + counts.low + int(np.count_nonzero(between < value)))
        if self.low < self.high and place - len(between) < counts.high:
            return Ranked(self.high, counts.smaller + counts.low + len(between))
        return None


def sampled(vectors: Sequence[Vector]) -> list[np.ndarray]:
    """Some entries of each vector, spread evenly over it and at the same places in all, float32 [n]."""
    size = len(vectors[0])
    places, step = [*blocks(size)], max(1, size // SAMPLE) | 1  # odd: rows of matrices have even lengths
    if size > SAMPLE and max(grain(vector) for vector in vectors) < RUN:
        places, step = [slice(start, start + RUN) for start in range(0, size - RUN, size * RUN // SAMPLE)], 1
    read = in_order(lambda place: [vector[place][::step].copy() for vector in vectors], places)
    return [np.concatenate(parts) for parts in zip(*read, strict=True)]


def _count(part: np.ndarray, spans: Sequence[_Span]) -> list[_Counts]:
    counts = [_Counts() for _ in spans]
    for strip in strips(slice(0, len(part))):
        entries = _checked(part[strip])
        for span, total in zip(spans, counts, strict=True):
            low, high = np.float32(span.low), np.float32(span.high)
            above = entries > low
            between = entries.take(np.flatnonzero(above & (entries < high)))  # `entries[…]` takes longer
            count_above, smaller = int(np.count_nonzero(above)), int(np.count_nonzero(entries < low))
            at_low = len(entries) - smaller - count_above
            at_high = int(np.count_nonzero(entries == high)) if count_above > len(between) else 0
            total.add(_Counts(smaller, at_low, len(between), [between], at_high), CANDIDATES)
    return counts


def _by_histograms(values: Vector, rank: int) -> Ranked:
    """Of non-negative float32 values, which are ordered like their bit patterns.

    A histogram of the upper 16 bits tells the bin in which the rank lies, one of that bin's lower 16 bits the value.
    """
    upper, below = 0, 0
    for shift in (16, 0):
        counts = np.zeros(BINS, np.int64)
        for part in read(values):
            bits = (part + np.float32(0)).view(np.uint32)  # + 0 turns -0.0, which would sort last, into 0.0
            kept = bits if shift else bits[bits >> 16 == upper]
            counts += np.bincount((kept >> shift) & 0xFFFF, minlength=BINS)
        sums = np.concatenate([[0], np.cumsum(counts)])
        place = int(np.searchsorted(sums, rank - below, side="right")) - 1
        below += int(sums[place])
        upper = upper << 16 | place
    return Ranked(float(np.uint32(upper).view(np.float32)), below)


def _checked(part: np.ndarray) -> np.ndarray:
    part = np.ascontiguousarray(part, np.float32)
    if part.size and not part.min() >= 0:
        raise TatrError("negative values or NaN where only values from 0 up can stand")
    return part
