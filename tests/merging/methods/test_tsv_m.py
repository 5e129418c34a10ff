"""TSV-M: leading singular components of all tasks, orthogonal to one another."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors import layout
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"embedding": (6, 8), "conv": (2, 3, 2, 2), "tall": (13, 7), "bias": (7,), "thin": (2, 9)})
MATRICES = ("embedding", "tall")

random_tasks = partial(drawn_tasks, size=LAYOUT.size, scale=1e-3)


def merged(
    vectors: Sequence[np.ndarray] | np.ndarray,
    mask: np.ndarray | None = None,
    share: float | None = None,
    shapes: Layout = LAYOUT,
) -> np.ndarray:
    return whole_direction("tsv_m", MergeInputs([*vectors], layout=shapes), {"rank_share": share}, mask=mask)


def whitened(columns: np.ndarray) -> np.ndarray:
    """Columns times (their Gram matrix)^(−1/2)."""
    squares, basis = np.linalg.eigh(columns.T @ columns)
    return columns @ basis @ np.diag(squares**-0.5) @ basis.T


def by_whitening(matrices: np.ndarray, rank: int) -> np.ndarray:
    """The method from eigenvectors of Gram matrices: no decomposition into singular values."""
    rights = [np.linalg.eigh(matrix.T @ matrix)[1][:, ::-1][:, :rank] for matrix in matrices]
    values = [np.linalg.norm(matrix @ right, axis=0) for matrix, right in zip(matrices, rights, strict=True)]
    lefts = [matrix @ right / value for matrix, right, value in zip(matrices, rights, values, strict=True)]
    return whitened(np.hstack(lefts)) @ np.diag(np.concatenate(values)) @ whitened(np.hstack(rights)).T


@pytest.mark.parametrize(("count", "share", "ranks"), [(3, None, (2, 2)), (2, None, (3, 3)), (3, 0.3, (1, 2))])
def test_it_is_the_whitened_recombination(count: int, share: float | None, ranks: tuple[int, int]) -> None:
    vectors = random_tasks(count)
    found = LAYOUT.unflatten(merged(vectors, share=share))
    tasks = [LAYOUT.unflatten(vector) for vector in vectors.astype(np.float64)]
    for name, rank in zip(MATRICES, ranks, strict=True):
        expected = by_whitening(np.stack([task[name] for task in tasks]), rank)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-8)


def test_tasks_that_do_not_interfere_are_summed() -> None:
    shapes, rng = Layout.of({"weight": (6, 6)}), np.random.default_rng(0)
    vectors = np.zeros((2, 6, 6), np.float32)
    vectors[0, :3, :3], vectors[1, 3:, 3:] = rng.normal(size=(2, 3, 3))
    found = merged(vectors.reshape(2, -1), shapes=shapes).reshape(6, 6)
    np.testing.assert_allclose(found, vectors.sum(axis=0), atol=1e-6)


def test_one_task_alone_stays_as_it_is() -> None:
    vectors = random_tasks(1)
    np.testing.assert_allclose(merged(vectors), vectors[0], rtol=1e-5, atol=1e-8)


def test_what_is_no_matrix_or_too_thin_is_averaged() -> None:
    vectors = random_tasks()
    found, mean = LAYOUT.unflatten(merged(vectors)), LAYOUT.unflatten(vectors.mean(axis=0))
    for name in ("conv", "bias", "thin"):
        np.testing.assert_allclose(found[name], mean[name], rtol=1e-5, atol=1e-9)


def test_a_matrix_with_as_many_rows_as_tasks_keeps_one_component_each() -> None:
    vectors = random_tasks(2)
    tasks = np.stack([LAYOUT.unflatten(vector)["thin"] for vector in vectors.astype(np.float64)])
    found = LAYOUT.unflatten(merged(vectors))["thin"]
    np.testing.assert_allclose(found, by_whitening(tasks, 1), rtol=1e-4, atol=1e-8)


def test_the_same_task_twice_gives_its_leading_part_once() -> None:
    vector = random_tasks(1)[0]
    found = LAYOUT.unflatten(merged([vector, vector]))
    for name in MATRICES:
        left, values, right = np.linalg.svd(LAYOUT.unflatten(vector)[name].astype(np.float64), full_matrices=False)
        expected = left[:, :3] @ np.diag(values[:3]) @ right[:3]
        np.testing.assert_allclose(found[name], expected, atol=1e-8)


def test_a_task_that_left_a_matrix_as_it_was_adds_no_directions() -> None:
    vectors = random_tasks(3)
    vectors[1] = 0
    found = LAYOUT.unflatten(merged(vectors))
    tasks = [LAYOUT.unflatten(vector) for vector in vectors[[0, 2]].astype(np.float64)]
    for name in MATRICES:
        expected = by_whitening(np.stack([task[name] for task in tasks]), 2)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-8)
    assert not merged(vectors[[1, 1]]).any()


def test_order_of_tasks_block_size_and_repetition_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = random_tasks()
    before, whole = vectors.copy(), merged(vectors)
    assert whole.dtype == np.float32
    assert whole.shape == (LAYOUT.size,)
    np.testing.assert_allclose(merged(vectors[[2, 0, 1]]), whole, rtol=1e-5, atol=1e-9)
    monkeypatch.setattr(layout, "BLOCK", 7)
    assert merged(vectors).tobytes() == whole.tobytes()
    np.testing.assert_array_equal(vectors, before)


def test_more_directions_than_a_matrix_has_are_refused() -> None:
    assert merged(random_tasks(4), share=0.25).shape == (LAYOUT.size,)
    with pytest.raises(TatrError, match=r"tsv_m: rank_share = 0.5 of 4 tasks .* give at most 1/4 = 0.25"):
        merged(random_tasks(4), share=0.5)
    with pytest.raises(TatrError, match="rank_share = 0 is out of range"):
        merged(random_tasks(2), share=0)


def test_the_mask_restricts_the_merged_direction() -> None:
    vectors, kept = random_tasks(), np.arange(LAYOUT.size) % 3 > 0
    np.testing.assert_array_equal(merged(vectors, kept), merged(vectors) * kept)


def test_what_it_declares() -> None:
    method = load("tsv_m")
    assert (method.needs, list(method.parameters)) == (["layout"], ["rank_share", "attention"])
    assert method.coefficient == 1
