"""CAT Merging: what disturbs other tasks is projected out, stated map by map; small cases that can be seen through."""

import numpy as np
import pytest
from measured import LAYOUT, MAPS, SCALES, as_maps, measured, random_inputs, random_tasks
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors.layout import Layout

BIASES = [name for name in LAYOUT.unflatten(random_tasks(1)[0]) if name.endswith("bias")]


def stated(tasks: list[np.ndarray], moments: list[np.ndarray], count: int, own_loss: float) -> np.ndarray:
    """Of maps [in, out] and Gram matrices, as the formulas read."""
    indices, bases = range(len(tasks)), []
    for k in indices:
        conflict = sum(tasks[i].T @ (moments[k] - own_loss * moments[i]) @ tasks[i] for i in indices if i != k)
        values, basis = np.linalg.eigh(conflict)
        bases.append(basis[:, values > 1e-6 * np.abs(values).max()][:, -count:])
    found = np.zeros(tasks[0].shape)
    for i in indices:
        others = np.hstack([bases[k] for k in indices if k != i])
        found += tasks[i] - tasks[i] @ others @ np.linalg.pinv(others)
    return found


@pytest.mark.parametrize(("count", "own_loss"), [(4, 5.0), (2, 5.0), (2, 0.3), (1, 0.0)])
def test_linear_maps_are_projected_as_the_formulas_read(count: int, own_loss: float) -> None:
    vectors, inputs = random_tasks(), random_inputs()
    settings = {"trimmed": count, "own_loss": own_loss}
    found = as_maps(whole_direction("cat", measured(vectors, inputs), settings))
    changed = 0
    for name in MAPS:
        tasks = [as_maps(vector)[name] for vector in vectors]
        expected = stated(tasks, [its[name].T @ its[name] for its in inputs], count, own_loss)
        np.testing.assert_allclose(found[name], expected, atol=1e-4 * np.abs(vectors).max())
        changed += not np.allclose(expected, sum(tasks), rtol=1e-3)
    assert changed or own_loss == 5.0


@pytest.mark.parametrize("own_loss", [0.1, 10.0])
def test_of_scales_and_shifts_the_worst_entries_are_trimmed(own_loss: float) -> None:
    vectors, inputs = random_tasks(), random_inputs()
    settings = {"trimmed": 2, "own_loss_of_scales": own_loss}
    found = LAYOUT.unflatten(whole_direction("cat", measured(vectors, inputs), settings))
    for name in (*SCALES, *BIASES):
        tasks = np.stack([LAYOUT.unflatten(vector)[name] for vector in vectors]).astype(np.float64)
        kept = tasks.copy()
        for k in range(3):
            others = [i for i in range(3) if i != k]
            gains = np.ones(tasks.shape)
            if name in SCALES:
                gains = np.stack(
                    [np.square(inputs[k][name]).mean(0) - own_loss * np.square(its[name]).mean(0) for its in inputs]
                )
            scores = (tasks**2 * gains)[others].sum(axis=0)
            worst = [entry for entry in np.argsort(scores)[-2:] if scores[entry] > 0]
            kept[np.ix_(others, worst)] = 0
        np.testing.assert_allclose(found[name], kept.sum(axis=0), rtol=1e-5, atol=1e-9)


def test_embeddings_are_added_up_and_without_trimming_all_is() -> None:
    vectors, inputs = random_tasks(), random_inputs()
    found, total = whole_direction("cat", measured(vectors, inputs)), vectors.sum(axis=0, dtype=np.float64)
    for name in ("visual.class_embedding", "visual.positional_embedding"):
        np.testing.assert_allclose(LAYOUT.unflatten(found)[name], LAYOUT.unflatten(total)[name], rtol=1e-5, atol=1e-9)
    assert np.abs(found - total).max() > 1e-4
    untrimmed = whole_direction("cat", measured(vectors, inputs), {"trimmed": 0})
    np.testing.assert_allclose(untrimmed, total, rtol=1e-5, atol=1e-9)


def test_what_moves_another_task_s_outputs_is_taken_out_and_what_serves_the_task_itself_stays() -> None:
    layout = Layout.of({"visual.mlp.c_fc.weight": (3, 2)})
    # Task 0 has inputs along the first axis only, task 1 along the second.
    grams = [np.diag([1, 0]).astype(np.float32), np.diag([0, 1]).astype(np.float32)]
    changes = np.array([[[1, 0], [0, 2], [3, 0]], [[0, 0], [0, 5], [0, 0]]], np.float32)
    given = MergeInputs([*changes.reshape(2, -1)], layout=layout, grams=[gram.ravel() for gram in grams])
    expected = changes.sum(axis=0)
    expected[1, 1] = 5  # task 0 moved output 1 on task 1's inputs; what it does on its own inputs stays
    np.testing.assert_allclose(whole_direction("cat", given).reshape(3, 2), expected, atol=1e-6)


def test_what_it_declares_and_refuses() -> None:
    method = load("cat")
    assert (method.needs, method.coefficient) == (["layout", "grams"], 0.4)
    assert {key: setting.default for key, setting in method.parameters.items()} == {
        "exemplars": 64,
        "trimmed": 4,
        "own_loss": 5,
        "own_loss_of_scales": 10,
    }
    with pytest.raises(TatrError, match="cat: own_loss = -1 is out of range, expected ≥ 0"):
        whole_direction("cat", measured(random_tasks(), random_inputs()), {"own_loss": -1})
