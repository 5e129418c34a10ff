"""The trust region: the parameters whose sensitivity Ω is small (Eq. 9 of arXiv 2501.15065).

One global threshold ε per τ: the τ·N entries with the largest Ω are dropped and Ω < ε is kept. The threshold is an
exact order statistic, found without sorting or holding Ω: non-negative float32 values are ordered like their bit
patterns, so a histogram of the upper 16 bits (taken while Ω is computed) tells the bin in which the wanted rank lies,
and one pass over Ω with a histogram of that bin's lower 16 bits tells the value.
"""

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np

from tatr.errors import TatrError
from tatr.vector import Vector, read

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


def thresholds(omega: Vector, taus: Sequence[float], histogram: Histogram | None = None) -> list[float]:
    """The ε of each τ, in one pass over Ω for all of them: entries with Ω < ε are kept.

    Args:
        omega: Ω ≥ 0, float32 [N].
        taus: dropped proportions in [0, 1).
        histogram: of Ω, if it was taken while Ω was computed; else one more pass takes it.

    Returns:
        ε per τ, the ⌊τN⌋-th largest value of Ω (∞ where that is none). Where several entries equal ε all of them
        are dropped, so at least ⌊τN⌋ entries are, and exactly ⌊τN⌋ when the values are distinct.

    Raises:
        TatrError: a τ is out of range, or so many entries are equal (to 0, say) that none would be kept.
    """
    for tau in taus:
        if not (isinstance(tau, int | float) and 0 <= tau < 1):
            raise TatrError(f"tau = {tau!r}: expected a dropped proportion in [0, 1)")
    counts = (histogram or Histogram.of(omega)).counts
    if counts.sum() != len(omega):
        raise TatrError(f"histogram counts {counts.sum():,} values, but the sensitivity has {len(omega):,}")
    # Ranks from below: the k-th largest is the (N - k)-th smallest, counted from 0.
    ranks = {tau: len(omega) - _dropped(tau, len(omega)) for tau in taus if _dropped(tau, len(omega))}
    below = np.concatenate([[0], np.cumsum(counts)])
    bins = {tau: int(np.searchsorted(below, rank, side="right")) - 1 for tau, rank in ranks.items()}
    fine = _fine_histograms(omega, set(bins.values()))
    found = {tau: _value(bins[tau], fine[bins[tau]], rank - below[bins[tau]]) for tau, rank in ranks.items()}
    first = int(np.searchsorted(below, 0, side="right")) - 1
    smallest = _value(first, fine[first], 0) if first in fine else None
    if refused := [tau for tau, epsilon in found.items() if epsilon == smallest]:
        raise TatrError(
            f"tau = {refused[0]:g}: nothing would be kept, as the sensitivity is {smallest:g} at too many parameters; "
            "check that no task vector or gradient is zero"
        )
    return [found.get(tau, float("inf")) for tau in taus]


def keep(omega: Vector, threshold: float) -> Iterator[np.ndarray]:
    """Blocks of the mask, bool: True where the parameter lies in the trust region."""
    return (part < threshold for part in read(omega))


def _dropped(tau: float, size: int) -> int:
    # In decimal, as τ was written: 0.29 * 100 is 28.999999999999996 in floating point.
    return int(Decimal(str(float(tau))) * size)


def _fine_histograms(omega: Vector, wanted: set[int]) -> dict[int, np.ndarray]:
    fine = {upper: np.zeros(BINS, np.int64) for upper in wanted}
    for part in read(omega) if wanted else ():
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
        raise TatrError("sensitivity holds negative values or NaN; it is a sum of products of absolute values")
    return (part + np.float32(0)).view(np.uint32)  # + 0 turns -0.0, which would sort last, into 0.0
