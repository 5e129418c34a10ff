"""DC-Merge: each task's largest coordinates in a basis that all share."""

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
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"square": (9, 9), "conv": (2, 3, 2, 2), "tall": (24, 15), "wide": (12, 31), "thin": (2, 9)})
MATRICES = ("square", "tall", "wide")

random_tasks = partial(drawn_tasks, size=LAYOUT.size, shared=1, scale=1e-3)


def merged(vectors: Sequence[np.ndarray] | np.ndarray, shapes: Layout = LAYOUT, **settings: object) -> np.ndarray:
    return whole_direction("dc_merge", MergeInputs([*vectors], layout=shapes), settings)


def stated(tasks: np.ndarray, density: float) -> np.ndarray:
    """Coordinate by coordinate, of truncated matrices."""
    size, rank = min(tasks.shape[1:]), min(tasks.shape[1:]) // len(tasks)
    parts = [np.linalg.svd(task, full_matrices=False) for task in tasks]
    left = nearest_isometry(np.hstack([part[0][:, :rank] for part in parts]))
    right = nearest_isometry(np.vstack([part[2][:rank] for part in parts]).T)
    coordinates = []
    for u, values, v in parts:
        its = left.T @ (u[:, :rank] * values[:rank] @ v[:rank]) @ right
        smallest = np.sort(np.abs(its), axis=None)[-max(1, int(density * size**2 + 1e-9))]
        coordinates.append(np.where(np.abs(its) >= smallest, its, 0))
    found = np.zeros_like(coordinates[0])
    for row, column in np.ndindex(found.shape):
        column_of = [its[row, column] for its in coordinates]
        agreeing = [value for value in column_of if value * sum(column_of) > 0]
        if agreeing and row // rank == column // rank:
            found[row, column] = np.mean(agreeing)
    return left @ found @ right.T


@pytest.mark.parametrize("density", [0.001, 0.05, 0.3, 1])
@pytest.mark.parametrize("name", MATRICES)
def test_it_is_its_definition(name: str, density: float) -> None:
    vectors = random_tasks()
    tasks = np.stack([LAYOUT.unflatten(vector)[name] for vector in vectors]).astype(np.float64)
    found = LAYOUT.unflatten(merged(vectors, density=density))[name]
    np.testing.assert_allclose(found, stated(tasks, density), rtol=1e-4, atol=1e-9)


def test_tasks_that_do_not_interfere_are_summed() -> None:
    shapes, vectors = Layout.of({"weight": (6, 6)}), np.zeros((2, 6, 6), np.float32)
    vectors[0, :3, :3], vectors[1, 3:, 3:] = np.random.default_rng(0).normal(size=(2, 3, 3))
    found = merged(vectors.reshape(2, -1), shapes, density=1).reshape(6, 6)
    np.testing.assert_allclose(found, vectors.sum(axis=0), atol=1e-6)


def test_by_default_one_coordinate_of_a_small_matrix_is_kept() -> None:
    shapes, vectors = Layout.of({"weight": (6, 6)}), np.zeros((2, 6, 6), np.float32)
    vectors[0, 0, 0], vectors[0, 1, 1], vectors[1, 4, 5], vectors[1, 5, 4] = 3, 2, -2, 1
    found = merged(vectors.reshape(2, -1), shapes).reshape(6, 6)
    expected = np.zeros((6, 6))
    expected[0, 0], expected[4, 5] = 3, -2
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_no_matrix_or_too_thin_is_averaged() -> None:
    vectors = random_tasks()
    found, mean = LAYOUT.unflatten(merged(vectors)), LAYOUT.unflatten(vectors.mean(axis=0))
    for name in ("conv", "thin"):
        np.testing.assert_allclose(found[name], mean[name], rtol=1e-5, atol=1e-9)


def test_a_task_that_left_a_matrix_as_it_was_adds_no_directions() -> None:
    vectors = random_tasks()
    vectors[1] = 0
    found = LAYOUT.unflatten(merged(vectors, density=1))
    for name in MATRICES:
        # As of two tasks with a third of the components each.
        left, right, expected = [], [], 0
        for vector in vectors[[0, 2]]:
            u, values, v = np.linalg.svd(LAYOUT.unflatten(vector)[name].astype(np.float64), full_matrices=False)
            rank = len(values) // 3
            left, right = [*left, u[:, :rank]], [*right, v[:rank].T]
            expected = expected + u[:, :rank] * values[:rank] @ v[:rank]
        bases = nearest_isometry(np.hstack(left)), nearest_isometry(np.hstack(right))
        assert np.linalg.matrix_rank(found[name], tol=1e-8) == 2 * rank
        for basis, outer in zip(bases, (found[name], found[name].T), strict=True):
            np.testing.assert_allclose(basis @ basis.T @ outer, outer, atol=1e-8)
    assert not merged(vectors[[1, 1]]).any()


def test_bad_settings_are_refused_and_what_it_declares() -> None:
    with pytest.raises(TatrError, match="dc_merge: density = 0 is out of range"):
        merged(random_tasks(), density=0)
    method = load("dc_merge")
    assert (method.needs, method.coefficient) == (["layout"], 1)
