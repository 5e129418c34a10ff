"""The trust region: the parameters whose sensitivity Ω is small (Eq. 9 of arXiv 2501.15065).

One global threshold ε per τ: the τ·N entries with the largest Ω are dropped and Ω < ε is kept. A sensitivity that
decides by itself states ε.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tatr.errors import TatrError
from tatr.settings import plain_number
from tatr.vectors.order_statistics import nth_smallest, share_of
from tatr.vectors.vector import Vector, mapped, read


class Threshold(NamedTuple):
    """Where a trust region ends."""

    epsilon: float
    """Entries with Ω < ε are kept."""
    kept: int
    """How many these are."""


def tau_of(given: Any) -> float:  # noqa: ANN401
    """τ as a caller gave it, as a plain number.

    Raises:
        TatrError: it is no number, or out of range.
    """
    if (tau := plain_number(given)) is None or not 0 <= tau < 1:
        raise TatrError(f"tau = {given!r}: expected a share of the parameters, from 0 to below 1 (0.01 for 1 %)")
    return tau


def thresholds(omega: Vector, taus: Sequence[float]) -> list[Threshold]:
    """The ε of each τ, in one pass over Ω for all of them: entries with Ω < ε are kept.

    Args:
        omega: Ω ≥ 0, float32 [N].
        taus: dropped proportions in [0, 1).

    Returns:
        Per τ ε, the ⌊τN⌋-th largest value of Ω (∞ where that is none), and how many entries it keeps. Where several
        entries equal ε all of them are dropped, so at least ⌊τN⌋ entries are, and exactly ⌊τN⌋ when the values are
        distinct.

    Raises:
        TatrError: a τ is out of range, or so many entries are equal (to 0, say) that none would be kept.
    """
    for tau in taus:
        tau_of(tau)
    # Ranks from below: the k-th largest is the (N - k)-th smallest, counted from 0.
    ranks = {tau: len(omega) - share_of(tau, len(omega)) for tau in taus if share_of(tau, len(omega))}
    everything = Threshold(float("inf"), len(omega))
    if not ranks:
        return [everything for _ in taus]
    found = {t: Threshold(*ranked) for t, ranked in zip(ranks, nth_smallest(omega, [*ranks.values()]), strict=True)}
    if refused := [tau for tau, threshold in found.items() if not threshold.kept]:
        raise TatrError(
            f"tau = {refused[0]:g}: nothing would be kept, as the sensitivity is {found[refused[0]].epsilon:g} at too "
            "many parameters; check that no task vector or gradient is zero"
        )
    return [found.get(tau, everything) for tau in taus]


def end_of_region(omega: Vector, tau: float | None, stated: float | None) -> Threshold:
    """Where one trust region ends: at the ε that its sensitivity states, else at that of τ.

    Args:
        omega: Ω ≥ 0, float32 [N].
        tau: dropped proportion in [0, 1), where no ε is stated.
        stated: ε.

    Raises:
        TatrError: τ is missing or out of range, or nothing would be kept.
    """
    if stated is not None:
        return _counted(omega, stated)
    if tau is None:
        raise TatrError("tau: missing; expected a share of the parameters, from 0 to below 1")
    return thresholds(omega, [tau])[0]


def _counted(omega: Vector, epsilon: float) -> Threshold:
    kept = sum(int(np.count_nonzero(part)) for part in read(mask(omega, epsilon)))
    if not kept:
        raise TatrError(
            f"nothing would be kept, as the sensitivity is below {epsilon:g} nowhere; check that no task vector or "
            "gradient is zero"
        )
    return Threshold(epsilon, kept)


def mask(omega: Vector, threshold: float) -> Vector:
    """The mask [Ω < ε], bool [N]: True where the parameter lies in the trust region; computed when it is read."""
    return mapped(lambda part: part < threshold, omega)
