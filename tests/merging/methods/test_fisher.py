"""Fisher merging: a weighted average, entry by entry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.vectors import layout

Settings = float | bool


def merged(vectors: np.ndarray, fishers: np.ndarray, block: int = layout.BLOCK, **settings: Settings) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        return whole_direction("fisher", MergeInputs([*vectors], fishers=[*fishers]), settings)


def random(count: int = 4, size: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Task vectors and Fisher information over eight orders of magnitude."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, size)).astype(np.float32), (10 ** rng.uniform(-9, -1, (count, size))).astype("f")


def expected(vectors: np.ndarray, fishers: np.ndarray, floor: float, normalise: bool) -> np.ndarray:
    found = np.empty(vectors.shape[1])
    lengths = [np.sqrt(sum(float(value) ** 2 for value in row)) if normalise else 1 for row in fishers]
    for i in range(len(found)):
        weights = [max(float(row[i]) / length, floor) for row, length in zip(fishers, lengths, strict=True)]
        found[i] = np.average(vectors[:, i].astype(np.float64), weights=weights)
    return found


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("floor", [1e-6, 1e-3])
def test_it_is_the_weighted_average(floor: float, normalise: bool) -> None:
    vectors, fishers = random()
    found = merged(vectors, fishers, floor=floor, normalise=normalise)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(vectors, fishers, floor, normalise), rtol=1e-5, atol=1e-7)


def test_the_defaults_are_the_authors() -> None:
    vectors, fishers = random()
    np.testing.assert_array_equal(merged(vectors, fishers), merged(vectors, fishers, floor=1e-6, normalise=True))


def test_equal_information_gives_the_average() -> None:
    vectors, fishers = random()
    equal = np.repeat(fishers[:1], 4, axis=0)
    np.testing.assert_allclose(merged(vectors, equal), vectors.astype(float).mean(axis=0), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("normalise", [True, False])
def test_without_any_information_it_is_the_average(normalise: bool) -> None:
    vectors, fishers = random()
    found = merged(vectors, np.zeros_like(fishers), normalise=normalise)
    np.testing.assert_allclose(found, vectors.astype(float).mean(axis=0), rtol=1e-5, atol=1e-7)
    # Nor does a task whose information is small as a whole win where nobody has any.
    fishers[0] *= np.float32(1e-6)
    fishers[:, :10] = 0
    found = merged(vectors, fishers)[:10]
    np.testing.assert_allclose(found, vectors[:, :10].astype(float).mean(axis=0), rtol=1e-5, atol=1e-7)


@given(arrays(np.float32, (3, 20), elements=st.floats(0, 100, width=32)), st.integers(1, 30))
def test_it_lies_between_the_models_and_blocks_do_not_matter(fishers: np.ndarray, block: int) -> None:
    vectors = random(3, 20)[0]
    found = merged(vectors, fishers, block)
    assert (found >= vectors.min(axis=0)).all()
    assert (found <= vectors.max(axis=0)).all()
    np.testing.assert_allclose(found, merged(vectors, fishers), rtol=1e-6, atol=1e-7)


def test_models_that_are_equal_merge_to_themselves_bit_for_bit() -> None:
    vectors, fishers = random()
    np.testing.assert_array_equal(merged(vectors[:1], fishers[:1]), vectors[0])
    np.testing.assert_array_equal(merged(vectors[[2, 2, 2]], fishers[:3]), vectors[2])


def test_the_order_of_tasks_and_the_scale_of_a_tasks_information_do_not_matter() -> None:
    vectors, fishers = random()
    order = [2, 0, 3, 1]
    found = merged(vectors, fishers)
    np.testing.assert_allclose(merged(vectors[order], fishers[order]), found, rtol=1e-5, atol=1e-7)
    scaled = fishers * np.array([1, 1e3, 1e-3, 7], np.float32)[:, None]
    np.testing.assert_allclose(merged(vectors, scaled), found, rtol=1e-4, atol=1e-5)
    assert np.abs(merged(vectors, scaled, normalise=False) - merged(vectors, fishers, normalise=False)).max() > 0.1


def test_the_mask_comes_after() -> None:
    vectors, fishers = random()
    kept = np.arange(1000) % 3 > 0
    found = whole_direction("fisher", MergeInputs([*vectors], fishers=[*fishers]), mask=kept)
    np.testing.assert_array_equal(found, merged(vectors, fishers) * kept)


def test_missing_information_and_bad_settings_are_refused() -> None:
    vectors, fishers = random()
    with pytest.raises(TatrError, match="fisher: needs fishers"):
        whole_direction("fisher", MergeInputs([*vectors]))
    with pytest.raises(TatrError, match="4 task vectors but 3 fishers"):
        merged(vectors, fishers[:3])
    with pytest.raises(TatrError, match=r"floor = 0.* is out of range, expected > 0"):
        merged(vectors, fishers, floor=0.0)
