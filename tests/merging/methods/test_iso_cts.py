"""Iso-CTS: common directions of the sum, own ones of each task, all orthonormal and of one strength."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from float64_formulas import nearest_isometry
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.merging.methods.iso_cts import own_directions
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"square": (10, 10), "conv": (2, 3, 2, 2), "tall": (24, 15), "wide": (12, 31), "bias": (7,)})
MATRICES = ("square", "tall", "wide")

random_tasks = partial(drawn_tasks, size=LAYOUT.size, shared=1, scale=1e-3)


def merged(
    vectors: Sequence[np.ndarray] | np.ndarray,
    shapes: Layout = LAYOUT,
    mask: np.ndarray | None = None,
    **settings: object,
) -> np.ndarray:
    return whole_direction("iso_cts", MergeInputs([*vectors], layout=shapes), settings, mask=mask)


def stated(tasks: Sequence[np.ndarray], q: int, c: int) -> np.ndarray:
    """The method by full decompositions, as its paper has it."""
    total = np.linalg.svd(np.sum(tasks, axis=0), full_matrices=False)
    lefts, values, rights = [total[0][:, :c]], [total[1][:c]], [total[2][:c]]
    for task in tasks:
        left, own, right = np.linalg.svd(task - lefts[0] @ lefts[0].T @ task, full_matrices=False)
        lefts, values, rights = [*lefts, left[:, :q]], [*values, own[:q]], [*rights, right[:q]]
    mean = np.concatenate(values).mean()
    return mean * nearest_isometry(np.hstack(lefts)) @ nearest_isometry(np.vstack(rights).T).T


@pytest.mark.parametrize(
    ("size", "tasks", "own", "common"),
    [
        *((512, tasks, own, common) for tasks, own, common in ((8, 13, 408), (14, 7, 414), (20, 5, 412))),
        *((768, tasks, own, common) for tasks, own, common in ((8, 19, 616), (14, 11, 614), (20, 8, 608))),
        *((1024, tasks, own, common) for tasks, own, common in ((8, 26, 816), (14, 15, 814), (20, 10, 824))),
        (50, 20, 0, 50),  # 10/20 is a half, which goes to the even number
        (50, 8, 1, 42),
        (3, 8, 0, 3),
    ],
)
def test_how_many_directions_are_whose(size: int, tasks: int, own: int, common: int) -> None:
    assert own_directions(size, tasks, 0.8) == own
    assert size - own * tasks == common


def test_no_more_directions_are_the_tasks_own_than_there_are() -> None:
    assert own_directions(5, 8, 0.0) == 0  # 5/8 would be rounded to one each
    assert own_directions(8, 3, 0.0) == 2
    assert own_directions(100, 3, 1.0) == 0


@pytest.mark.parametrize(("fraction", "own"), [(0.8, (1, 1, 1)), (0.4, (2, 3, 3)), (0.0, (3, 5, 4))])
def test_it_is_its_formula(fraction: float, own: tuple[int, ...]) -> None:
    vectors = random_tasks()
    found = LAYOUT.unflatten(merged(vectors, common_space_fraction=fraction))
    tasks = [LAYOUT.unflatten(vector) for vector in vectors.astype(np.float64)]
    for name, q in zip(MATRICES, own, strict=True):
        expected = stated([task[name] for task in tasks], q, min(found[name].shape) - 3 * q)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-9)


def test_all_singular_values_are_equal() -> None:
    found = LAYOUT.unflatten(merged(random_tasks()))
    for name in MATRICES:
        values = np.linalg.svd(found[name].astype(np.float64), compute_uv=False)
        np.testing.assert_allclose(values, values.mean(), rtol=1e-5)


def test_without_directions_of_their_own_it_is_iso_c() -> None:
    vectors = random_tasks()
    expected = whole_direction("iso_c", MergeInputs([*vectors], layout=LAYOUT))
    np.testing.assert_allclose(merged(vectors, common_space_fraction=1.0), expected, rtol=1e-5, atol=1e-9)
    thin = Layout.of({"positions": (2, 9)})
    few = random_tasks(3, size=thin.size)
    expected = whole_direction("iso_c", MergeInputs([*few], layout=thin))
    np.testing.assert_allclose(merged(few, thin), expected, rtol=1e-5, atol=1e-9)


def test_what_is_no_matrix_is_averaged() -> None:
    vectors = random_tasks()
    found, mean = LAYOUT.unflatten(merged(vectors)), LAYOUT.unflatten(vectors.mean(axis=0))
    for name in ("conv", "bias"):
        np.testing.assert_allclose(found[name], mean[name], rtol=1e-5, atol=1e-9)


def test_the_projection_is_turned() -> None:
    stored, turned = Layout.of({"visual.proj": (12, 31)}), Layout.of({"weight": (31, 12)})
    vectors = random_tasks(3, size=stored.size)
    transposed = [vector.reshape(12, 31).T.reshape(-1) for vector in vectors]
    np.testing.assert_array_equal(merged(vectors, stored).reshape(12, 31), merged(transposed, turned).reshape(31, 12).T)


def test_a_task_that_left_a_matrix_as_it_was_has_no_directions() -> None:
    vectors = random_tasks(3)
    vectors[1] = 0
    found = LAYOUT.unflatten(merged(vectors, common_space_fraction=0.4))
    for name, q in zip(MATRICES, (2, 3, 3), strict=True):
        tasks = [LAYOUT.unflatten(vector)[name].astype(np.float64) for vector in vectors]
        size = min(found[name].shape)
        expected = stated([tasks[0], tasks[2]], q, size - 3 * q)
        # σ̄ is the mean of all, the two that are zero too.
        np.testing.assert_allclose(found[name], expected * (size - q) / size, rtol=1e-4, atol=1e-9)
    assert not merged(vectors[[1, 1]]).any()


def test_nothing_is_made_of_rounding() -> None:
    # Both tasks move the same three rows, which the common directions hold: none is left to be their own.
    shapes, vectors = Layout.of({"weight": (20, 20)}), np.zeros((2, 20, 20), np.float32)
    vectors[:, 4:7] = np.random.default_rng(0).normal(size=(2, 3, 20))
    found = merged(vectors.reshape(2, -1), shapes).reshape(20, 20)
    common = np.linalg.svd(vectors.sum(axis=0, dtype=np.float64), compute_uv=False)[:3].sum() / 20
    np.testing.assert_allclose(np.linalg.svd(found, compute_uv=False), [common] * 3 + [0] * 17, atol=1e-6)


def test_bad_settings_are_refused_and_what_it_declares() -> None:
    with pytest.raises(TatrError, match=r"iso_cts: common_space_fraction = 1.2 is out of range"):
        merged(random_tasks(), common_space_fraction=1.2)
    with pytest.raises(TatrError, match=r"iso_cts: attention = 'apart': expected one of stacked, separate"):
        merged(random_tasks(), attention="apart")
    method = load("iso_cts")
    assert (method.needs, method.coefficient) == (["layout"], 1.5)
