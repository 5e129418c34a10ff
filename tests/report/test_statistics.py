"""Intervals of accuracies and paired differences, held against scipy's bootstrap over images and by hand."""

import numpy as np
import pytest
from scipy import stats

from tatr.errors import TatrError
from tatr.measuring.predictions import Predictions
from tatr.report.statistics import (
    Discordance,
    Interval,
    average_accuracy,
    average_difference,
    discordances,
)

SIZES = {"a": 40, "b": 300, "c": 90}


def answered(right: np.ndarray) -> Predictions:
    labels = np.arange(len(right), dtype=np.int32) % 7
    return Predictions(np.where(right, labels, labels + 1).astype(np.int32), labels, np.zeros(len(right), np.float32))


def model(seed: int, share: float) -> dict[str, Predictions]:
    rng = np.random.default_rng(seed)
    return {task: answered(rng.random(size) < share) for task, size in SIZES.items()}


def agreeing(with_: dict[str, Predictions], seed: int) -> dict[str, Predictions]:
    """A model that mostly answers alike, as a merge inside a trust region does."""
    rng = np.random.default_rng(seed)
    return {task: answered(its.right ^ (rng.random(len(its)) < 0.1)) for task, its in with_.items()}


def test_the_interval_is_that_of_scipys_bootstrap_over_images() -> None:
    one = model(0, 0.8)
    samples = [its.right.astype(float) for its in one.values()]
    expected = stats.bootstrap(
        samples, lambda *s, axis: np.mean([x.mean(axis=axis) for x in s], axis=0),
        n_resamples=20_000, method="percentile", rng=1, vectorized=True,
    )  # fmt: skip
    found = average_accuracy(one)
    assert found.value == pytest.approx(np.mean([sample.mean() for sample in samples]))
    np.testing.assert_allclose([found.low, found.high], [*expected.confidence_interval], atol=2e-3)
    assert found == average_accuracy(dict(reversed(one.items())))  # whatever the order, and every time


def test_the_paired_interval_is_that_of_scipys_bootstrap_over_pairs() -> None:
    one = model(0, 0.8)
    other = agreeing(one, 5)
    samples = [one[task].right.astype(float) - other[task].right for task in one]
    expected = stats.bootstrap(
        samples, lambda *s, axis: np.mean([x.mean(axis=axis) for x in s], axis=0),
        n_resamples=20_000, method="percentile", rng=1, vectorized=True,
    )  # fmt: skip
    found = average_difference(one, other)
    np.testing.assert_allclose([found.low, found.high], [*expected.confidence_interval], atol=2e-3)
    apart = average_accuracy(one)
    assert found.high - found.low < apart.high - apart.low  # pairs tell small differences


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        found = average_accuracy(model(seed, 0.7))
        covered += found.low <= 0.7 <= found.high
    assert 180 <= covered <= 199


def test_mcnemars_test_by_hand() -> None:
    assert Discordance(8, 2, 100).p_value == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert Discordance(8, 2, 100).difference == pytest.approx(0.06)
    assert Discordance(0, 0, 100).p_value == 1


def test_who_alone_is_right_is_counted_per_task() -> None:
    one, other = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    found = discordances({"t": answered(one)}, {"t": answered(other)})
    assert found == {"t": Discordance(gained=2, lost=1, images=5)}


def test_equal_models_do_not_differ() -> None:
    one = model(0, 0.8)
    assert average_difference(one, one) == Interval(0, 0, 0)
    assert not average_difference(one, one).excludes_zero
    assert Interval(0.2, 0.1, 0.3).excludes_zero
    assert Interval(-0.2, -0.3, -0.1).excludes_zero


def test_a_model_that_is_always_right_has_an_interval_without_width() -> None:
    assert average_accuracy({"t": answered(np.ones(10, bool))}) == Interval(1, 1, 1)


def test_evaluations_of_other_images_are_no_pairs() -> None:
    one = model(0, 0.8)
    with pytest.raises(TatrError, match=r"evaluated on different tasks \(a, b, c; a, b\): no pairs to compare"):
        average_difference(one, {task: one[task] for task in ("a", "b")})
    shorter = one | {"b": answered(one["b"].right[1:])}
    with pytest.raises(TatrError, match=r"evaluated on different test images of 'b' \(300, 299\)"):
        average_difference(one, shorter)
