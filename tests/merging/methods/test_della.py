"""DELLA: larger entries are dropped less, expectations stay, signs are elected, and the seed decides alone."""

from functools import partial

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"matrix": (50, 40), "conv": (5, 2, 3, 3), "bias": (31,), "scale": ()})

random_tasks = partial(drawn_tasks, size=LAYOUT.size)


def merged(vectors: np.ndarray, shapes: Layout = LAYOUT, **settings: object) -> np.ndarray:
    return whole_direction("della", MergeInputs([*vectors], layout=shapes), settings)


def sparsified(vectors: np.ndarray, **settings: object) -> np.ndarray:
    """Each task's vector as it enters the merge, seen from outside: all others are zero."""
    alone = [np.where(np.arange(len(vectors))[:, None] == task, vectors, np.float32(0)) for task in range(len(vectors))]
    return np.stack([merged(each, elect=False, **settings) for each in alone])


def kept_with(vector: np.ndarray, drop: float, window: float) -> np.ndarray:
    """The probability of each entry, from its place among those of its row."""
    found = []
    for part in LAYOUT.unflatten(vector).values():
        for row in part.reshape(len(part), -1) if part.ndim > 1 else part.reshape(1, -1):
            ranks = [sum(abs(other) < abs(value) for other in row) for value in row]
            found += [
                1 - drop - window / 2 + window * (rank / (len(row) - 1) if len(row) > 1 else 0.5) for rank in ranks
            ]
    return np.array(found)


@pytest.mark.parametrize(("drop", "window"), [(0.3, 0.14), (0.6, 0.6), (0.2, 0)])
def test_what_is_kept_is_divided_by_its_probability(drop: float, window: float) -> None:
    vectors = random_tasks()
    for left, vector in zip(sparsified(vectors, drop=drop, window=window), vectors, strict=True):
        there = left != 0
        np.testing.assert_allclose(left[there], (vector / kept_with(vector, drop, window))[there], rtol=1e-6)
        assert there.mean() == pytest.approx(1 - drop, abs=5 * (drop * (1 - drop) / LAYOUT.size) ** 0.5)


def test_entries_are_kept_as_often_as_their_ranks_say() -> None:
    (vector,) = random_tasks(1)
    kept = np.mean([merged(vector[None], drop=0.5, window=0.8, seed=seed) != 0 for seed in range(200)], axis=0)
    expected = kept_with(vector, 0.5, 0.8)
    assert np.abs(kept - expected).max() < 5 * 0.5 / 200**0.5
    assert np.corrcoef(kept, expected)[0, 1] > 0.98


def test_signs_are_elected_and_what_agrees_is_averaged() -> None:
    vectors = random_tasks(4)
    vectors[:2, :20] = 0
    parts = sparsified(vectors).astype(np.float64)
    expected = []
    for column in parts.T:
        agreeing = [value for value in column if (value > 0 if column.sum() >= 0 else value < 0)]
        expected.append(np.mean(agreeing) if agreeing else 0)
    np.testing.assert_allclose(merged(vectors), expected, rtol=1e-5)
    np.testing.assert_allclose(merged(vectors, elect=False), parts.sum(axis=0), rtol=1e-4, atol=1e-6)


def test_without_drops_only_the_election_is_left() -> None:
    shapes, vectors = Layout.of({"w": (4,)}), np.array([[1, -2, 1, 0], [-3, -4, -1, 0]], np.float32)
    np.testing.assert_array_equal(merged(vectors, shapes, drop=0, window=0), [-3, -3, 1, 0])


def test_without_a_window_the_dropping_is_dare_s() -> None:
    vectors = random_tasks()
    expected = whole_direction("dare", MergeInputs([*vectors]), {"drop": 0.4, "seed": 3})
    np.testing.assert_allclose(merged(vectors, drop=0.4, window=0, elect=False, seed=3), expected, atol=1e-5)


def test_random_numbers_are_the_seed_s_the_task_s_and_the_entry_s() -> None:
    vectors = random_tasks(2)
    first, again, other = (sparsified(vectors, seed=seed) != 0 for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    streams = np.array([*first, *other]).astype(float)
    assert np.abs(np.corrcoef(streams) - np.eye(4)).max() < 0.15
    np.testing.assert_array_equal(sparsified(np.vstack([vectors, vectors[:1]]), seed=1)[:2] != 0, first)


def test_of_equal_magnitudes_the_first_rank_lower() -> None:
    shapes, vector = Layout.of({"w": (1, 3)}), np.array([[-1, 1, 1]], np.float32)
    sizes = np.max([np.abs(merged(vector, shapes, drop=0.5, window=0.8, seed=seed)) for seed in range(60)], axis=0)
    np.testing.assert_allclose(sizes, [1 / 0.1, 1 / 0.5, 1 / 0.9], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": 0.05}, r"della: with drop = 0.05 and window = 0.14 .* from -0.02 to 0.12; these must be from 0 to"),
        ({"drop": 0.95}, r"della: with drop = 0.95 and window = 0.14 .* to 1.02"),
        ({"drop": 1}, r"della: drop = 1 is out of range"),
        ({"window": -0.1}, r"della: window = -0.1 is out of range"),
        ({"elect": 1}, r"della: elect = 1: expected true or false"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        merged(random_tasks(), **settings)


def test_what_it_declares() -> None:
    method = load("della")
    assert (method.needs, method.coefficient) == (["layout"], 1.1)
    assert list(method.parameters) == ["drop", "window", "elect", "seed"]
