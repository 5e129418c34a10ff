"""DARE: the right share is dropped, expectations stay, and the random numbers are the seed's alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.vectors import layout as layout_module

SIZE = 20_000


def merged(vectors: np.ndarray, block: int = 2**22, mask: np.ndarray | None = None, **settings: float) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "BLOCK", block)
        return whole_direction("dare", MergeInputs([*vectors]), settings, mask=mask)


def random_tasks(count: int = 3, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(5).normal(1, 0.1, size=(count, size)).astype(np.float32)


def kept(task: int, drop: float, tasks: int = 3, **settings: float) -> np.ndarray:
    """Which entries of one task stay, seen from outside: all other tasks are zero."""
    vectors = np.zeros((tasks, SIZE), np.float32)
    vectors[task] = 1
    return merged(vectors, drop=drop, **settings) != 0


@pytest.mark.parametrize("drop", [0.1, 0.5, 0.9, 0.99])
def test_dare_drops_its_share_and_rescales_the_rest(drop: float) -> None:
    vectors = random_tasks()
    stays = np.array([kept(task, drop) for task in range(3)])
    spread = 5 * (drop * (1 - drop) / SIZE) ** 0.5
    np.testing.assert_allclose(stays.mean(axis=1), 1 - drop, atol=spread)
    found = merged(vectors, drop=drop)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (vectors * stays).sum(axis=0) / (1 - drop), rtol=1e-5)
    np.testing.assert_allclose(merged(vectors, drop=drop, rescale=False), (vectors * stays).sum(axis=0), rtol=1e-5)


def test_the_default_drops_nine_in_ten_and_rescales() -> None:
    np.testing.assert_array_equal(merged(random_tasks()), merged(random_tasks(), drop=0.9, rescale=True, seed=0))


def test_without_drops_dare_is_task_arithmetic() -> None:
    expected = whole_direction("task_arithmetic", MergeInputs([*random_tasks()]))
    np.testing.assert_array_equal(merged(random_tasks(), drop=0), expected)


def test_over_seeds_mean_and_variance_are_the_stated_ones() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    found = np.array([merged(vectors, drop=0.5, seed=seed) for seed in range(4000)])
    variance = (vectors.astype(np.float64) ** 2).sum(axis=0)  # drop/(1 − drop) is 1
    np.testing.assert_allclose(found.mean(axis=0), vectors.sum(axis=0), atol=5 * (variance.max() / 4000) ** 0.5)
    np.testing.assert_allclose(found.var(axis=0), variance, rtol=0.15)


def test_tasks_entries_and_seeds_are_independent() -> None:
    streams = np.array([kept(task, 0.5, seed=seed) for task in range(3) for seed in (0, 1)]).astype(float)
    correlation = np.corrcoef([*streams, np.roll(streams[0], 1), np.roll(streams[0], 7)])
    assert np.abs(correlation - np.eye(len(correlation))).max() < 5 / SIZE**0.5


@given(st.integers(1, 500), st.floats(0, 0.99), st.integers(0, 2**63))
def test_random_numbers_do_not_depend_on_the_block_size(block: int, drop: float, seed: int) -> None:
    vectors = random_tasks(size=400)
    expected = merged(vectors, drop=drop, seed=seed)
    np.testing.assert_array_equal(merged(vectors, block, drop=drop, seed=seed), expected)


def test_the_random_numbers_stay_as_they_are() -> None:
    # Another version of NumPy, another machine or a change here must not change published merges in silence.
    assert np.flatnonzero(kept(0, 0.9)[:60]).tolist() == [5, 9, 26, 27, 38]
    assert np.flatnonzero(kept(2, 0.9, seed=7)[-60:]).tolist() == [1, 2, 5, 10, 15, 18, 24, 37, 49, 54]


def test_one_more_task_changes_no_other_tasks_drops() -> None:
    np.testing.assert_array_equal(kept(1, 0.9, tasks=2), kept(1, 0.9, tasks=5))


def test_masking_before_or_after_is_the_same() -> None:
    vectors, region = random_tasks(), np.arange(SIZE) % 3 > 0
    np.testing.assert_array_equal(merged(vectors, mask=region), merged(vectors * region))


@pytest.mark.parametrize("settings", [{"drop": 1}, {"drop": -0.1}, {"seed": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(TatrError, match=rf"dare: {next(iter(settings))} = .* is out of range"):
        merged(random_tasks(), **settings)
