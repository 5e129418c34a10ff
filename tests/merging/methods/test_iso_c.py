"""Iso-C: equal singular values in the sum's own subspaces."""

from functools import partial

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from whole import whole_direction

from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors import layout
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"embedding": (5, 4), "conv": (2, 3, 2, 2), "tall": (9, 4), "bias": (7,), "wide": (3, 8)})
MATRICES = ("embedding", "tall", "wide")

random_tasks = partial(drawn_tasks, size=LAYOUT.size, scale=1e-3)


def merged(vectors: np.ndarray, mask: np.ndarray | None = None, shapes: Layout = LAYOUT) -> np.ndarray:
    return whole_direction("iso_c", MergeInputs([*vectors], layout=shapes), mask=mask)


def test_every_singular_value_is_the_mean_of_the_sum_s() -> None:
    vectors = random_tasks()
    found, total = LAYOUT.unflatten(merged(vectors)), LAYOUT.unflatten(vectors.astype(np.float64).sum(axis=0))
    for name in MATRICES:
        mean = np.linalg.svd(total[name], compute_uv=False).mean()
        np.testing.assert_allclose(np.linalg.svd(found[name], compute_uv=False), mean, rtol=1e-5)


def test_the_subspaces_are_the_sum_s() -> None:
    # The factor of the polar decomposition, from the sum's Gram matrix: no decomposition into singular values.
    vectors = random_tasks()
    found, total = LAYOUT.unflatten(merged(vectors)), LAYOUT.unflatten(vectors.astype(np.float64).sum(axis=0))
    for name in MATRICES:
        matrix = total[name] if total[name].shape[0] >= total[name].shape[1] else total[name].T
        squares, basis = np.linalg.eigh(matrix.T @ matrix)
        expected = matrix @ (basis / np.sqrt(squares)) @ basis.T * np.sqrt(squares).mean()
        actual = found[name] if matrix is total[name] else found[name].T
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-9)


def test_what_is_no_matrix_is_averaged() -> None:
    vectors = random_tasks()
    found, mean = LAYOUT.unflatten(merged(vectors)), LAYOUT.unflatten(vectors.mean(axis=0))
    for name in ("conv", "bias"):
        np.testing.assert_allclose(found[name], mean[name], rtol=1e-5, atol=1e-9)


def test_directions_that_no_task_uses_stay_empty() -> None:
    shapes = Layout.of({"weight": (6, 6)})
    vectors = np.zeros((2, 6, 6), np.float32)
    vectors[0, :2, :3], vectors[1, :2, 1:4] = np.random.default_rng(0).normal(size=(2, 2, 3))
    found = merged(vectors.reshape(2, -1), shapes=shapes).reshape(6, 6)
    mean = np.linalg.svd(vectors.sum(axis=0), compute_uv=False).mean()
    np.testing.assert_allclose(np.linalg.svd(found, compute_uv=False), [mean] * 2 + [0] * 4, atol=1e-6)
    assert not found[2:].any()
    assert not found[:, 4:].any()
    assert not merged(np.zeros((2, 36), np.float32), shapes=shapes).any()


def test_order_of_tasks_block_size_and_repetition_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = random_tasks()
    before, whole = vectors.copy(), merged(vectors)
    assert whole.dtype == np.float32
    assert whole.shape == (LAYOUT.size,)
    np.testing.assert_allclose(merged(vectors[[2, 0, 1]]), whole, rtol=1e-5, atol=1e-9)
    monkeypatch.setattr(layout, "BLOCK", 7)
    assert merged(vectors).tobytes() == whole.tobytes()
    np.testing.assert_array_equal(vectors, before)


def test_the_mask_restricts_the_merged_direction() -> None:
    vectors, kept = random_tasks(), np.arange(LAYOUT.size) % 3 > 0
    np.testing.assert_array_equal(merged(vectors, kept), merged(vectors) * kept)


def test_what_it_declares() -> None:
    method = load("iso_c")
    assert (method.needs, list(method.parameters)) == (["layout"], ["attention"])
    assert method.coefficient == 1.3
