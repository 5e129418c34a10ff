"""WUDI-Merging: the loss of its authors, by automatic differentiation; its minimum; what stops on the way there."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch
from drawn_tasks import drawn_tasks
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"square": (8, 8), "conv": (2, 3, 2, 2), "tall": (13, 6), "wide": (5, 21), "bias": (7,)})
MATRICES = ("square", "tall", "wide")

random_tasks = partial(drawn_tasks, size=LAYOUT.size, shared=1, scale=1e-3)


def merged(vectors: Sequence[np.ndarray] | np.ndarray, shapes: Layout = LAYOUT, **settings: object) -> np.ndarray:
    return whole_direction("wudi", MergeInputs([*vectors], layout=shapes), settings)


def matrices(vectors: np.ndarray, name: str) -> np.ndarray:
    return np.stack([LAYOUT.unflatten(vector)[name] for vector in vectors])


def loss(v: torch.Tensor, tasks: torch.Tensor) -> torch.Tensor:
    return sum((((v - task) @ task.T) ** 2).sum() / (task**2).sum() for task in tasks)


def by_torch(tasks: np.ndarray, steps: int) -> np.ndarray:
    """Adam on the loss, in float32, as published."""
    stacked = torch.from_numpy(tasks)
    v = torch.nn.Parameter(stacked.sum(dim=0))
    optimiser = torch.optim.Adam([v], lr=1e-5)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(v, stacked).backward()
        optimiser.step()
    return v.detach().numpy()


@pytest.mark.parametrize("steps", [1, 40])
@pytest.mark.parametrize("name", MATRICES)
def test_adam_is_that_of_the_loss(name: str, steps: int) -> None:
    vectors = random_tasks()
    found = LAYOUT.unflatten(merged(vectors, solver="adam", steps=steps))[name]
    tasks = matrices(vectors, name)
    expected = by_torch(tasks, steps)
    assert np.abs(expected - tasks.sum(axis=0)).max() > 0.9e-5  # it has moved
    np.testing.assert_allclose(found, expected, atol=2e-7)


@pytest.mark.parametrize("name", MATRICES)
def test_closed_is_the_loss_s_minimum(name: str) -> None:
    vectors = random_tasks()
    found = torch.from_numpy(LAYOUT.unflatten(merged(vectors, solver="closed"))[name].copy()).double()
    tasks = torch.from_numpy(matrices(vectors, name)).double()
    found.requires_grad_()
    loss(found, tasks).backward()
    start = tasks.sum(dim=0).requires_grad_()
    loss(start, tasks).backward()
    assert found.grad is not None and start.grad is not None
    assert found.grad.abs().max() < 1e-4 * start.grad.abs().max()
    # Rows of v stay in the span of the tasks' rows.
    rows = tasks.reshape(-1, tasks.shape[2])
    rest = found.detach() - found.detach() @ torch.linalg.pinv(rows) @ rows
    assert rest.abs().max() < 1e-6 * found.detach().abs().max()


@pytest.mark.parametrize("time", [1, 30, 300])
@pytest.mark.parametrize("name", MATRICES)
def test_the_filter_follows_the_eigenvalues(name: str, time: int) -> None:
    vectors = random_tasks()
    tasks = matrices(vectors, name).astype(np.float64)
    total = sum(task.T @ task / (task**2).sum() for task in tasks)
    pull = sum(task @ task.T @ task / (task**2).sum() for task in tasks)
    values, basis = np.linalg.eigh(total)
    start, end = tasks.sum(axis=0), pull @ np.linalg.pinv(total, rcond=1e-10, hermitian=True)
    expected = start + (end - start) @ basis @ np.diag(1 - np.exp(-values * time)) @ basis.T
    found = LAYOUT.unflatten(merged(vectors, steps=time))[name]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


def test_by_default_it_is_the_filter_at_300() -> None:
    np.testing.assert_array_equal(merged(random_tasks()), merged(random_tasks(), solver="filter", steps=300))


@pytest.mark.parametrize("solver", ["filter", "adam", "closed"])
def test_tasks_that_do_not_interfere_are_summed(solver: str) -> None:
    shapes, vectors = Layout.of({"weight": (6, 6)}), np.zeros((2, 6, 6), np.float32)
    vectors[0, :, :3], vectors[1, :, 3:] = np.random.default_rng(0).normal(size=(2, 6, 3))
    found = merged(vectors.reshape(2, -1), shapes, solver=solver).reshape(6, 6)
    np.testing.assert_allclose(found, vectors.sum(axis=0), atol=1e-5)


@pytest.mark.parametrize("solver", ["filter", "adam", "closed"])
def test_a_task_that_changed_nothing_does_not_count(solver: str) -> None:
    vectors = random_tasks()
    vectors[1] = 0
    with np.errstate(all="raise"):
        found = merged(vectors, solver=solver)
    np.testing.assert_allclose(found, merged(vectors[[0, 2]], solver=solver), rtol=1e-5, atol=1e-9)
    assert not merged(vectors[[1, 1]], solver=solver).any()


@pytest.mark.parametrize("elsewhere", ["pretrained", "mean"])
def test_what_is_no_matrix_stays_or_is_averaged(elsewhere: str) -> None:
    vectors = random_tasks()
    found, mean = LAYOUT.unflatten(merged(vectors, elsewhere=elsewhere)), LAYOUT.unflatten(vectors.mean(axis=0))
    for name in ("conv", "bias"):
        expected = mean[name] if elsewhere == "mean" else 0 * mean[name]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "newton"}, r"wudi: solver = 'newton': expected one of filter, adam, closed"),
        ({"steps": 0}, r"wudi: steps = 0 is out of range, expected ≥ 1"),
        ({"elsewhere": "zero"}, r"wudi: elsewhere = 'zero': expected one of mean, pretrained"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        merged(random_tasks(), **settings)


def test_what_it_declares() -> None:
    method = load("wudi")
    assert (method.needs, method.coefficient) == (["layout"], 1)
