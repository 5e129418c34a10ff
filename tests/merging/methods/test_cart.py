"""CART: truncated deviations from the mean."""

from collections.abc import Sequence
from functools import partial

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

random_tasks = partial(drawn_tasks, count=4, size=LAYOUT.size, shared=1, scale=1e-3)


def merged(vectors: Sequence[np.ndarray] | np.ndarray, **settings: object) -> np.ndarray:
    return whole_direction("cart", MergeInputs([*vectors], layout=LAYOUT), settings)


@pytest.mark.parametrize(
    ("scale", "share", "ranks"), [(2.0, 0.12, (1, 1, 1)), (1.3, 0.3, (3, 4, 3)), (1, 0.01, (1, 1, 1))]
)
def test_it_is_its_formula(scale: float, share: float, ranks: tuple[int, ...]) -> None:
    vectors = random_tasks()
    found = LAYOUT.unflatten(merged(vectors, scale=scale, rank_share=share))
    for name, rank in zip(MATRICES, ranks, strict=True):
        tasks = np.stack([LAYOUT.unflatten(vector)[name] for vector in vectors]).astype(np.float64)
        expected = tasks.mean(axis=0)
        for task in tasks:
            left, values, right = np.linalg.svd(task - tasks.mean(axis=0), full_matrices=False)
            expected = expected + scale * left[:, :rank] * values[:rank] @ right[:rank]
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("settings", [{"rank_share": 1.0}, {"scale": 0}])
def test_whole_deviations_or_none_leave_the_mean(settings: dict[str, float]) -> None:
    vectors = random_tasks()
    np.testing.assert_allclose(merged(vectors, **settings), vectors.mean(axis=0), rtol=1e-4, atol=1e-9)


def test_equal_tasks_and_a_single_one_stay_as_they_are() -> None:
    (vector,) = random_tasks(count=1)
    for vectors in ([vector], [vector] * 3):
        np.testing.assert_allclose(merged(vectors), vector, rtol=1e-6)


def test_by_default_it_is_the_authors_choice_for_eight_tasks() -> None:
    np.testing.assert_array_equal(merged(random_tasks()), merged(random_tasks(), scale=2.0, rank_share=0.12))
    method = load("cart")
    assert (method.needs, method.coefficient) == (["layout"], 1)


@pytest.mark.parametrize("settings", [{"scale": -1}, {"rank_share": 0}, {"rank_share": 1.5}])
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(TatrError, match=rf"cart: {next(iter(settings))} = .* is out of range"):
        merged(random_tasks(), **settings)
