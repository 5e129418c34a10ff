"""Model Stock: its ratio from the cosines of all pairs, tensor by tensor."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from whole import whole_direction

from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"matrix": (8, 9), "conv": (2, 3, 2, 2), "bias": (7,), "scale": ()})

random_tasks = partial(drawn_tasks, size=LAYOUT.size, scale=1e-3)


def merged(vectors: Sequence[np.ndarray] | np.ndarray, shapes: Layout = LAYOUT) -> np.ndarray:
    return whole_direction("model_stock", MergeInputs([*vectors], layout=shapes))


def stated(parts: np.ndarray) -> np.ndarray:
    count = len(parts)
    pairs = [*combinations(parts.reshape(count, -1).astype(np.float64), 2)]
    cosine = np.mean([one @ other / np.linalg.norm(one) / np.linalg.norm(other) for one, other in pairs])
    return max(count * cosine / (1 + (count - 1) * cosine), 0) * parts.mean(axis=0)


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("shared", [0, 0.5, 3])
def test_it_is_its_formula_tensor_by_tensor(count: int, shared: float) -> None:
    vectors = random_tasks(count, shared=shared)
    found = LAYOUT.unflatten(merged(vectors))
    for name in found:
        parts = np.stack([LAYOUT.unflatten(vector)[name] for vector in vectors])
        np.testing.assert_allclose(found[name], stated(parts), rtol=1e-5, atol=1e-10)


def test_of_eight_tasks_nearly_at_right_angles_little_is_left() -> None:
    shapes, cosine = Layout.of({"w": (9,)}), 0.05
    vectors = np.eye(8, 9) * (1 - cosine) ** 0.5 + np.eye(9)[8] * cosine**0.5
    np.testing.assert_allclose(merged(vectors.astype(np.float32), shapes), 0.4 / 1.35 * vectors.mean(axis=0), rtol=1e-3)


def test_equal_tasks_and_a_single_one_stay_as_they_are() -> None:
    (vector,) = random_tasks(1)
    for vectors in ([vector], [vector] * 4):
        np.testing.assert_allclose(merged(vectors), vector, rtol=1e-6)


def test_opposed_tasks_leave_the_pretrained_model() -> None:
    shapes = Layout.of({"w": (2,)})
    assert not merged(np.array([[1, 1], [-1, 0.5]], np.float32), shapes).any()
    assert not merged(np.array([[1, 0], [-1, 0]], np.float32), shapes).any()


def test_a_task_that_changed_nothing_is_at_right_angles_to_all() -> None:
    shapes = Layout.of({"w": (2,)})
    found = merged(np.array([[3, 0], [0, 0], [3, 0]], np.float32), shapes)
    np.testing.assert_allclose(found, [2 * (3 * (1 / 3) / (1 + 2 / 3)), 0], rtol=1e-6)


def test_what_it_declares() -> None:
    method = load("model_stock")
    assert (method.needs, list(method.parameters), method.coefficient) == (["layout"], [], 1)
