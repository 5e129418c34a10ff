"""ACE-Merging: both of its branches, as the authors' code reads."""

from collections.abc import Sequence

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"square": (10, 10), "conv": (2, 3, 2, 2), "tall": (24, 15), "wide": (12, 31), "bias": (7,)})
MATRICES = ("square", "tall", "wide")


def merged(vectors: Sequence[np.ndarray] | np.ndarray, **settings: object) -> np.ndarray:
    return whole_direction("ace", MergeInputs([*vectors], layout=LAYOUT), settings)


def random_tasks(sizes: Sequence[float] = (1, 1.05, 1.1)) -> np.ndarray:
    tasks = drawn_tasks(len(sizes), LAYOUT.size, shared=1, scale=0.02)
    return (np.array(sizes)[:, None] * tasks).astype(np.float32)


def stated(tasks: np.ndarray, ridge: float = 0.01, share: float = 0.3, limit: float = 0.3) -> tuple[np.ndarray, bool]:
    sizes = np.log((tasks**2).sum(axis=(1, 2)))
    differ = bool(sizes.var(ddof=1) / sizes.mean() ** 2 > limit)
    count, outputs, inputs = tasks.shape
    centring = np.eye(outputs) - np.ones((outputs, outputs)) / outputs
    covariances, regular = [], []
    for task in tasks:
        covariance = task.T @ centring @ task
        trace = np.trace(covariance) if differ else 1
        covariances.append(covariance / trace)
        regular.append(covariance / trace + ridge / trace * np.eye(inputs))
    row = np.ones(inputs) / inputs @ sum(covariances)
    row = row / (tasks**2).sum(axis=(1, 2)).mean() if differ else row
    pull = sum(centring @ task @ its for task, its in zip(tasks, regular, strict=True))
    found = pull @ np.linalg.inv(sum(regular) + np.outer(np.ones(inputs), row))
    if differ:
        mean = sum(regular) / count
        fused = found + sum(task @ (its - mean) for task, its in zip(tasks, covariances, strict=True))
        left, values, right = np.linalg.svd(fused, full_matrices=False)
        rank = int(share * len(values) + 1e-9)
        found = found + values[:rank].mean() * left[:, :rank] @ right[:rank]
    return found, differ


@pytest.mark.parametrize(("sizes", "differ"), [((1, 1.05, 1.1), False), ((1, 8, 100), True)])
@pytest.mark.parametrize("name", MATRICES)
def test_it_is_its_formula_in_both_branches(name: str, sizes: Sequence[float], differ: bool) -> None:
    vectors = random_tasks(sizes)
    tasks = np.stack([LAYOUT.unflatten(vector)[name] for vector in vectors]).astype(np.float64)
    expected, branch = stated(tasks)
    assert branch == differ
    np.testing.assert_allclose(LAYOUT.unflatten(merged(vectors))[name], expected, rtol=1e-4, atol=1e-6)


def test_its_settings_reach_it() -> None:
    vectors = random_tasks()
    settings = {"ridge": 0.5, "rank_share": 0.5, "heterogeneity": 0}
    tasks = np.stack([LAYOUT.unflatten(vector)["tall"] for vector in vectors]).astype(np.float64)
    expected, branch = stated(tasks, 0.5, 0.5, 0)
    assert branch
    np.testing.assert_allclose(LAYOUT.unflatten(merged(vectors, **settings))["tall"], expected, rtol=1e-4, atol=1e-6)


def test_what_is_no_matrix_is_averaged() -> None:
    vectors = random_tasks()
    found, mean = LAYOUT.unflatten(merged(vectors)), LAYOUT.unflatten(vectors.mean(axis=0))
    for name in ("conv", "bias"):
        np.testing.assert_allclose(found[name], mean[name], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("sizes", [(1, 0, 1.1), (1, 0, 8, 100)])
@pytest.mark.parametrize("size", [0, 0.02])
def test_a_task_without_a_covariance_does_not_count(sizes: Sequence[float], size: float) -> None:
    vectors = random_tasks(sizes)
    # It changed nothing, or all rows of a matrix alike.
    rows = {p.name: np.linspace(-size, size, p.shape[-1], dtype=np.float32) for p in LAYOUT.parameters}
    vectors[1] = LAYOUT.flatten({p.name: np.broadcast_to(rows[p.name], p.shape) for p in LAYOUT.parameters})
    vectors[1, ::7] *= np.float32(1 + 2**-23)  # to float32's rounding
    places = np.concatenate([np.arange(p.offset, p.stop) for p in LAYOUT.parameters if p.name in MATRICES])
    found, expected = merged(vectors), merged(vectors[np.array(sizes) > 0])
    np.testing.assert_allclose(found[places], expected[places], rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(merged(vectors[[1, 1]]), vectors[1], rtol=1e-6)


def test_inputs_that_a_ridge_below_rounding_does_not_tell_apart_share_what_they_get() -> None:
    matrix = np.array([[1, 1, 3], [2, 2, 0], [-3, -3, 1], [0, 0, -4]], np.float32)
    found, expected = (
        whole_direction("ace", MergeInputs([matrix.reshape(-1)], Layout.of({"weight": (4, 3)})), {"ridge": ridge})
        for ridge in (1e-30, 1e-6)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{"ridge": 0}, {"heterogeneity": -1}, {"rank_share": 2}])
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(TatrError, match=rf"ace: {next(iter(settings))} = .* is out of range"):
        merged(random_tasks(), **settings)


def test_what_it_declares() -> None:
    method = load("ace")
    assert (method.needs, method.coefficient) == (["layout"], 1)
