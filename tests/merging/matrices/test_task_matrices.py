"""What methods on matrices see as one: for all of them alike."""

from functools import partial

import numpy as np
import pytest
from drawn_tasks import SHAPES as KINDS
from drawn_tasks import drawn_tasks
from whole import whole_direction

from tatr.merging.matrices.task_matrices import TaskMatrices, each_matrix, is_matrix
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import Method, load, names
from tatr.vectors.layout import Layout

SHAPES = KINDS | {
    "empty": (0, 7),
    "scale": (),
}
LAYOUT = Layout.of(SHAPES)
STACKED = "visual.transformer.resblocks.0.attn.in_proj_weight"
MATRICES = {"visual.positional_embedding", "visual.proj", STACKED}
ON_MATRICES = [name for name in names() if "attention" in load(name).parameters]

random_tasks = partial(drawn_tasks, size=LAYOUT.size, scale=1e-2)


@pytest.fixture(params=ON_MATRICES)
def on_matrices(request: pytest.FixtureRequest) -> Method:
    return load(request.param)


def test_which_parameters_are_matrices_and_how_they_lie() -> None:
    assert {parameter.name for parameter in LAYOUT.parameters if is_matrix(parameter)} == MATRICES
    vectors, seen = random_tasks(), {}

    def look(matrices: TaskMatrices) -> np.ndarray:
        seen[matrices.parameter.name] = [*matrices]
        assert len(matrices) == 3
        assert {matrix.shape for matrix in matrices} == {matrices.shape}
        np.testing.assert_allclose(matrices.total(), sum(matrices))
        np.testing.assert_allclose(matrices.mean(), sum(matrices) / 3)
        return matrices.total()

    found = np.concatenate([*each_matrix(look, vectors, LAYOUT, bytes_of=lambda parameter: parameter.size)])
    tasks = [LAYOUT.unflatten(vector) for vector in vectors]
    for name in SHAPES:
        expected = sum(task[name].astype(np.float64) for task in tasks) / (1 if name in MATRICES else 3)
        np.testing.assert_allclose(LAYOUT.unflatten(found)[name], expected, rtol=1e-5, atol=1e-9)
    for name, matrices in seen.items():
        for matrix, task in zip(matrices, tasks, strict=True):
            assert matrix.dtype == np.float64
            np.testing.assert_array_equal(matrix, task[name].T if name == "visual.proj" else task[name])


def test_what_is_no_matrix_can_stay_as_it_is() -> None:
    parts = each_matrix(
        TaskMatrices.total, [*random_tasks()], LAYOUT, elsewhere="pretrained", bytes_of=lambda parameter: parameter.size
    )
    found = LAYOUT.unflatten(np.concatenate([*parts]))
    assert {name for name, part in found.items() if part.any()} == MATRICES


def test_queries_keys_and_values_are_three_matrices_if_that_is_asked_for(on_matrices: Method) -> None:
    vectors, settings = [*random_tasks()], {"attention": "separate"}
    apart = Layout.of({f"layers.0.{which}_proj.weight": (6, 6) for which in "qkv"})
    place = next(parameter for parameter in LAYOUT.parameters if parameter.name == STACKED)
    parts = [vector[place.offset : place.stop] for vector in vectors]
    expected = whole_direction(on_matrices.name, MergeInputs(parts, layout=apart))
    found = whole_direction(on_matrices.name, MergeInputs(vectors, layout=LAYOUT), settings)
    np.testing.assert_array_equal(found[place.offset : place.stop], expected)
    together = whole_direction(on_matrices.name, MergeInputs(vectors, layout=LAYOUT))
    assert not np.allclose(together[place.offset : place.stop], expected, rtol=1e-3)
    others = np.r_[: place.offset, place.stop : LAYOUT.size]
    np.testing.assert_array_equal(found[others], together[others])


def test_stacked_weights_that_are_not_three_of_a_kind_stay_together(on_matrices: Method) -> None:
    layout = Layout.of({"in_proj_weight": (7, 6), "other.in_proj_weight": (6,)})
    inputs = MergeInputs([*random_tasks(size=layout.size)], layout=layout)
    found = whole_direction(on_matrices.name, inputs, {"attention": "separate"})
    np.testing.assert_array_equal(found, whole_direction(on_matrices.name, inputs))


def test_the_projection_is_merged_as_a_map_from_inputs_to_outputs(on_matrices: Method) -> None:
    stored, turned = Layout.of({"visual.proj": (9, 4)}), Layout.of({"weight": (4, 9)})
    vectors = [*random_tasks(size=stored.size)]
    transposed = [vector.reshape(9, 4).T.reshape(-1) for vector in vectors]
    found = whole_direction(on_matrices.name, MergeInputs(vectors, layout=stored)).reshape(9, 4)
    expected = whole_direction(on_matrices.name, MergeInputs(transposed, layout=turned)).reshape(4, 9).T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
