"""PCB-Merging: the dense formula over K × N, order statistics by sorting."""

from functools import partial

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from hypothesis import given, settings
from hypothesis import strategies as st
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors import layout, vector

random_tasks = partial(drawn_tasks, count=4, shared=0.5, scale=1e-3)


def merged(vectors: np.ndarray, mask: np.ndarray | None = None, block: int = 2**22, **chosen: float) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        return whole_direction("pcb", MergeInputs([*vectors]), chosen, mask=mask)


def rescaled(rows: np.ndarray) -> np.ndarray:
    low, high = rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    return (rows - low) / (high - low)


def dense(vectors: np.ndarray, ratio: float = 0.05, clamp: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """The merged direction and the weights [K, N], as formulated."""
    deltas = vectors.astype(np.float64)
    count, size = deltas.shape
    cut = round(clamp * size)
    ordered = np.sort(np.abs(deltas), axis=1)
    magnitudes = np.clip(np.abs(deltas), ordered[:, [cut]], ordered[:, [-1 - cut]])
    normals = np.where(deltas < 0, -1, 1) * rescaled(magnitudes)
    inter = np.tanh(np.einsum("kn,jn->kjn", normals, normals)).sum(axis=1)
    scores = np.exp(count * normals**2) * inter
    weights = rescaled(np.maximum(scores, np.sort(scores, axis=1)[:, [size - round(ratio * size)]]))
    signed = np.where(deltas < 0, -magnitudes, magnitudes)
    with np.errstate(invalid="ignore"):
        return np.nan_to_num((weights * signed).sum(axis=0) / weights.sum(axis=0)), weights


@pytest.mark.parametrize("chosen", [{}, {"ratio": 0.2}, {"ratio": 0.7}, {"ratio": 1.0}, {"clamp": 0.0}, {"clamp": 0.1}])
def test_it_is_the_dense_formula(chosen: dict[str, float]) -> None:
    vectors = random_tasks()
    found = merged(vectors, **chosen)
    assert found.dtype == np.float32
    expected, weights = dense(vectors, **chosen)
    # The lowest kept entry weighs nothing but for rounding, so there the mean may be 0 or that entry.
    sure = (weights.sum(axis=0) > 1e-5) | (weights == 0).all(axis=0)
    assert sure.mean() > 0.98
    np.testing.assert_allclose(found[sure], expected[sure], rtol=2e-3, atol=1e-7)


def test_ratio_is_the_share_that_is_kept() -> None:
    # The lowest of the kept entries has no weight.
    for ratio, kept in ((0.05, 49), (0.2, 199), (0.5, 499), (0.9, 899), (1.0, 999)):
        found = merged(random_tasks(count=1), ratio=ratio, clamp=0.0)
        assert (found != 0).sum() == kept


def test_what_one_task_keeps_is_its_clamped_entry() -> None:
    vector = random_tasks(count=1)[0]
    found = merged(vector[None])
    kept = found != 0
    high = np.sort(np.abs(vector))[-11]
    np.testing.assert_allclose(found[kept], np.clip(vector, -high, high)[kept], rtol=1e-6)
    assert np.abs(vector[kept]).min() > np.abs(vector[~kept]).max()


def test_negative_scores_are_ranked_too() -> None:
    # Against two others, each twice as sure, no score of the first task is above zero.
    vectors = random_tasks(count=3)
    vectors[1], vectors[2] = -vectors[0], -vectors[0] * np.float32(2)
    found, (expected, weights) = merged(vectors, ratio=0.6), dense(vectors, ratio=0.6)
    sure = weights.sum(axis=0) > 1e-4
    np.testing.assert_allclose(found[sure], expected[sure], rtol=2e-3, atol=1e-7)


@given(st.integers(8, 250), st.integers(8, 250))
@settings(max_examples=20)
def test_block_size_does_not_matter(block: int, chunk: int) -> None:
    vectors = random_tasks(size=200)
    whole = merged(vectors, ratio=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector, "STRIP", chunk)
        assert merged(vectors, block=block, ratio=0.3).tobytes() == whole.tobytes()


def test_order_of_tasks_does_not_matter_and_inputs_stay() -> None:
    vectors = random_tasks()
    before = vectors.copy()
    np.testing.assert_allclose(merged(vectors[[2, 0, 3, 1]]), merged(vectors), rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(vectors, before)


def test_scale_of_a_task_vector_does_not_decide_what_it_keeps() -> None:
    vectors = random_tasks()
    np.testing.assert_allclose(merged(vectors * np.float32(2**-20)) * 2**20, merged(vectors), rtol=1e-5, atol=1e-9)


def test_many_tasks_do_not_overflow() -> None:
    with np.errstate(over="raise"):
        found = merged(random_tasks(count=95, size=40), ratio=0.5)
    assert np.isfinite(found).all()
    assert found.any()


def test_a_task_vector_of_zeros_has_no_weight() -> None:
    vectors = random_tasks(count=2)
    vectors[1] = 0
    assert np.isfinite(merged(vectors)).all()
    assert merged(vectors).any()
    assert not merged(vectors[1:]).any()


def test_settings_out_of_range_are_refused() -> None:
    for chosen in ({"ratio": 0}, {"ratio": 1.5}, {"clamp": 0.5}, {"clamp": -0.1}):
        with pytest.raises(TatrError, match="out of range"):
            merged(random_tasks(), **chosen)


def test_the_mask_restricts_the_merged_direction() -> None:
    vectors, kept = random_tasks(), np.arange(1000) % 3 > 0
    np.testing.assert_array_equal(merged(vectors, kept), merged(vectors) * kept)


def test_what_it_declares() -> None:
    method = load("pcb")
    assert (method.needs, list(method.parameters)) == ([], ["ratio", "clamp"])
    assert method.coefficient == 1.2
