"""The trust region: exact thresholds, exactly τ·N entries dropped, nested masks."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tatr.errors import TatrError
from tatr.merging import mask as masking
from tatr.merging.mask import thresholds
from tatr.vectors import layout

PAPERS_GRID = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05]
TINY = np.finfo(np.float32).smallest_subnormal

taus = st.builds(lambda thousandths: thousandths / 1000, st.integers(0, 999))
values = st.one_of(
    st.floats(0, width=32, allow_infinity=False),
    st.sampled_from([0.0, -0.0, float(TINY), float(3 * TINY), 1.0, float(np.nextafter(np.float32(1), np.float32(2)))]),
)
vectors = arrays(np.float32, st.integers(1, 60), elements=values)


def mask(omega: np.ndarray, tau: float) -> np.ndarray:
    ((epsilon, kept),) = thresholds(omega, [tau])
    found = masking.mask(omega, epsilon)[0 : len(omega)]
    assert kept == found.sum()
    return found


def dropped(tau: float, size: int) -> int:
    """⌊τN⌋ in exact arithmetic, τ read as the decimal number that a person writes."""
    return floor(Fraction(str(tau)) * size)


def distinct(size: int, seed: int = 0) -> np.ndarray:
    """Distinct, heavy-tailed values in random order."""
    rng = np.random.default_rng(seed)
    bits = rng.choice(2**31 - 2**24, size, replace=False).astype(np.uint32)  # below infinity
    return bits.view(np.float32)


@given(vectors, st.lists(taus, min_size=1, max_size=5), st.integers(1, 70))
def test_thresholds_of_many_taus_are_exact_order_statistics(omega: np.ndarray, tau: list[float], block: int) -> None:
    counts = [dropped(t, len(omega)) for t in tau]
    expected = [np.partition(omega, len(omega) - n)[len(omega) - n] if n else np.inf for n in counts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        if omega.min() in expected:
            with pytest.raises(TatrError, match="nothing would be kept"):
                thresholds(omega, tau)
        else:
            assert [threshold.epsilon for threshold in thresholds(omega, tau)] == expected


@given(st.integers(1, 3000), taus, st.integers(0, 99))
def test_of_distinct_values_exactly_tau_n_are_dropped(size: int, tau: float, seed: int) -> None:
    omega = distinct(size, seed)
    kept = mask(omega, tau)
    assert size - kept.sum() == dropped(tau, size)
    if 0 < kept.sum() < size:
        assert omega[kept].max() < omega[~kept].min()


@pytest.mark.parametrize("tau", PAPERS_GRID)
def test_the_kept_proportion_is_one_minus_tau(tau: float) -> None:
    assert mask(distinct(100_000), tau).mean() == pytest.approx(1 - tau, abs=1e-12)


@given(vectors, taus)
def test_ties_at_the_threshold_drop_more_never_fewer(omega: np.ndarray, tau: float) -> None:
    try:
        kept = mask(omega, tau)
    except TatrError:
        assert (omega == omega.min()).sum() > len(omega) - dropped(tau, len(omega)) > 0
        return
    threshold = thresholds(omega, [tau])[0].epsilon
    assert (~kept).sum() >= dropped(tau, len(omega))
    assert (~kept).sum() - dropped(tau, len(omega)) < max(1, (omega == threshold).sum())
    assert kept.any()


@given(vectors, taus, taus)
def test_masks_are_nested(omega: np.ndarray, one: float, other: float) -> None:
    low, high = sorted([one, other])
    try:
        kept_at_high = mask(omega, high)
    except TatrError:
        return
    assert not (kept_at_high & ~mask(omega, low)).any()


@given(vectors)
def test_tau_zero_keeps_everything(omega: np.ndarray) -> None:
    assert thresholds(omega, [0]) == [(np.inf, len(omega))]
    assert mask(omega, 0).all()


@pytest.mark.parametrize(("tau", "count"), [(0.29, 29), (0.07, 7), (0.57, 57), (0.009, 0), (0.9999999, 99)])
def test_tau_n_is_rounded_down_as_written_not_as_a_binary_fraction(tau: float, count: int) -> None:
    assert (~mask(distinct(100), tau)).sum() == count
    assert (~mask(distinct(100), np.float64(tau))).sum() == count


@pytest.mark.parametrize("tau", [-0.1, 1, 1.5, float("nan"), float("inf")])
def test_a_tau_that_is_no_proportion_is_refused(tau: float) -> None:
    with pytest.raises(TatrError, match="expected a share of the parameters, from 0 to below 1"):
        thresholds(distinct(10), [0.1, tau])


def test_a_sensitivity_of_zero_is_refused_instead_of_merging_nothing() -> None:
    with pytest.raises(TatrError, match=r"tau = 0\.1: nothing would be kept, as the sensitivity is 0 at too many"):
        thresholds(np.zeros(50, np.float32), [0.1])
    sparse = distinct(50)
    sparse[:46] = 0
    with pytest.raises(TatrError, match=r"tau = 0\.1"):
        thresholds(sparse, [0.02, 0.1])
    assert mask(sparse, 0.02).sum() == 49


@pytest.mark.parametrize("bad", [-1.0, np.nan])
def test_a_sensitivity_that_is_negative_or_nan_is_refused(bad: float) -> None:
    omega = distinct(20)
    omega[7] = bad
    with pytest.raises(TatrError, match="negative values or NaN"):
        thresholds(omega, [0.1])
