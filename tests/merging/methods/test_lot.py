"""LOT Merging: least squares on every layer's own inputs, the smallest of all solutions."""

import numpy as np
import pytest
from measured import LAYOUT, MAPS, SCALES, as_maps, measured, random_inputs, random_tasks
from whole import whole_direction

from tatr.merging.methods import load


@pytest.mark.parametrize("mean", [0.0, 10.0])
@pytest.mark.parametrize("rows", [60, 2])
def test_it_is_the_least_squares_solution_of_least_norm(rows: int, mean: float) -> None:
    vectors, inputs = random_tasks(), random_inputs(rows=rows, mean=mean)
    found = as_maps(whole_direction("lot", measured(vectors, inputs)))
    for name, size in MAPS.items():
        stacked = np.concatenate([its[name] for its in inputs])
        targets = np.concatenate([its[name] @ as_maps(v)[name] for its, v in zip(inputs, vectors, strict=True)])
        expected, _, rank, _ = np.linalg.lstsq(stacked, targets)
        assert rank == min(size, 3 * rows)  # below `size`, rounding of Gram matrices must not be taken for inputs
        assert np.linalg.norm(found[name] - expected) < 2e-3 * np.linalg.norm(expected)


def test_it_is_regmean_with_whole_gram_matrices_where_inputs_suffice() -> None:
    inputs = measured(random_tasks(), random_inputs(mean=1.0))
    found, expected = whole_direction("lot", inputs), whole_direction("regmean", inputs, {"off_diagonal": 1.0})
    for name in LAYOUT.unflatten(found):
        if name not in SCALES:
            ours, theirs = (LAYOUT.unflatten(vector)[name] for vector in (found, expected))
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-7)


def test_directions_without_inputs_stay_as_they_were() -> None:
    vectors, inputs = random_tasks(), random_inputs()
    for its in inputs:
        for name in (*MAPS, *SCALES):
            its[name][:, 1] = 0
    found = whole_direction("lot", measured(vectors, inputs))
    for values in (*as_maps(found).values(), *(LAYOUT.unflatten(found)[name] for name in SCALES)):
        assert np.abs(values[1]).max() < 1e-12 < np.abs(values[0]).max()


def test_scales_are_means_weighted_by_their_inputs_and_the_rest_is_averaged() -> None:
    vectors, inputs = random_tasks(), random_inputs()
    found = LAYOUT.unflatten(whole_direction("lot", measured(vectors, inputs)))
    for name in found.keys() - MAPS.keys():
        tasks = np.stack([LAYOUT.unflatten(vector)[name] for vector in vectors]).astype(np.float64)
        weights = (
            np.stack([np.square(its[name]).sum(axis=0) for its in inputs]) if name in SCALES else np.ones(tasks.shape)
        )
        expected = np.average(tasks, axis=0, weights=weights)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-9)


def test_what_it_declares() -> None:
    method = load("lot")
    assert (method.needs, method.coefficient) == (["layout", "grams"], 1.2)
    assert method.parameters["exemplars"].default == 64
