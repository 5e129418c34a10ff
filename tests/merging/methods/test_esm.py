"""ESM, as its authors' code computes it: from inputs themselves, with full decompositions, in float64."""

from collections.abc import Sequence

import numpy as np
import pytest
from float64_formulas import nearest_isometry, orthogonalised
from measured import LAYOUT, as_maps, measured, random_inputs, random_tasks
from whole import whole_direction

from tatr.merging.methods import load

ESSENTIAL = ("attn.in_proj_weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
SCALED = (*ESSENTIAL, "attn.out_proj.weight")
WEIGHTS = [name for name in LAYOUT.unflatten(random_tasks(1)[0]) if name.endswith(SCALED)]


def essential(tasks: Sequence[np.ndarray], inputs: Sequence[np.ndarray], rank: int) -> np.ndarray:
    """Of task matrices [out, in] and their inputs, a row each."""
    lefts, rights, norms = [], [], []
    for task, rows in zip(tasks, inputs, strict=True):
        _, values, directions = np.linalg.svd(rows @ task.T)
        own, eigenvalues = directions @ task, values[:rank] ** 2
        norms.append(np.linalg.norm(own))
        weights = (eigenvalues / eigenvalues.mean()) ** 0.15
        weights = weights / weights.mean()
        lefts.append(directions[:rank].T * weights)
        rights.append(own[:rank] * norms[-1] ** 2 * weights[:, None])
    stacked = np.vstack(rights) / np.mean(norms) ** 2
    columns = np.linalg.norm(stacked, axis=0)
    sides = np.hstack(lefts), stacked * (columns / columns.mean()) ** 2
    left, right = (nearest_isometry(side) * np.linalg.svd(side, compute_uv=False).mean() for side in sides)
    return 2 * left @ right


def stated(vectors: np.ndarray, inputs: Sequence[dict[str, np.ndarray]], count: int = 3) -> dict[str, np.ndarray]:
    """Weights of attention and MLP as [out, in]."""
    found = {}
    for name in WEIGHTS:
        tasks = [as_maps(vector)[name].T for vector in vectors]
        whole = name.endswith(ESSENTIAL)
        rows = [its[name] for its in inputs]
        rank = (len(tasks[0]) if whole else min(tasks[0].shape)) // count
        found[name] = essential(tasks, rows, rank) if whole else orthogonalised(tasks, rank)
    norms = {name: np.linalg.norm(values) for name, values in found.items()}
    for name in WEIGHTS:
        (kind,) = (kind for kind in SCALED if name.endswith(kind))
        found[name] *= (norms[name] / np.mean([norms[other] for other in norms if other.endswith(kind)])) ** 2
    return found


def test_it_is_the_authors_computation() -> None:
    vectors, inputs = random_tasks(), random_inputs()
    found, expected = LAYOUT.unflatten(whole_direction("esm", measured(vectors, inputs))), stated(vectors, inputs)
    for name in WEIGHTS:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4 * np.abs(expected[name]).max(), err_msg=name)
    first, second = (np.linalg.norm(found[name]) for name in WEIGHTS if name.endswith("mlp.c_fc.weight"))
    assert abs(first - second) > 0.01 * first  # that layers are scaled shows


def test_other_matrices_are_as_tsv_m_has_them_and_the_rest_is_averaged() -> None:
    vectors, inputs = random_tasks(), measured(random_tasks(), random_inputs())
    found, others = (LAYOUT.unflatten(whole_direction(method, inputs)) for method in ("esm", "tsv_m"))
    for name in found.keys() - set(WEIGHTS):
        np.testing.assert_allclose(found[name], others[name], rtol=1e-5, atol=1e-9)
    mean = LAYOUT.unflatten(vectors.mean(axis=0))["visual.conv1.weight"]
    np.testing.assert_allclose(found["visual.conv1.weight"], mean, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("idle", ["change", "inputs"])
def test_a_task_that_changed_nothing_or_has_no_inputs_is_left_out(idle: str) -> None:
    vectors, inputs = random_tasks(), random_inputs()
    if idle == "change":
        vectors[1] = 0
    else:
        inputs[1] = {name: 0 * rows for name, rows in inputs[1].items()}
    with np.errstate(all="raise"):
        found = LAYOUT.unflatten(whole_direction("esm", measured(vectors, inputs)))
    expected = stated(vectors[[0, 2]], [inputs[0], inputs[2]])
    for name in WEIGHTS:
        if name.endswith(ESSENTIAL):
            np.testing.assert_allclose(found[name], expected[name], atol=1e-4 * np.abs(expected[name]).max())


def test_what_it_declares() -> None:
    method = load("esm")
    assert (method.needs, method.coefficient, method.equal_singular_values) == (["layout", "grams"], 1, True)
    assert method.parameters["exemplars"].default == 32
