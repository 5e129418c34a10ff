"""Parameters on several threads: in order, in bounded memory, the same for any number of threads."""

import threading
import time

import numpy as np
import pytest
from float64_formulas import balanced, isotropic, orthogonalised, regression
from threadpoolctl import threadpool_info
from whole import whole_direction

from tatr.merging.matrices.each_parameter import each_parameter
from tatr.merging.matrices.linear_maps import gram_layout
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load, names
from tatr.vectors.layout import Layout, Parameter

SHAPES = {
    "visual.square.weight": (150, 150),
    "visual.tall.weight": (300, 90),
    "visual.wide.weight": (70, 210),
    "visual.bias": (70,),
}
LAYOUT = Layout.of(SHAPES)
NAMES = [name for name, shape in SHAPES.items() if len(shape) == 2]
TASKS = 4


@pytest.fixture(scope="module")
def inputs() -> MergeInputs:
    """Random task vectors that share something, and Gram matrices of inputs with a large mean."""
    rng = np.random.default_rng(0)
    shared = rng.normal(size=LAYOUT.size)
    vectors = [(shared + rng.normal(size=LAYOUT.size)).astype(np.float32) * np.float32(1e-3) for _ in range(TASKS)]
    places, grams = gram_layout(LAYOUT), []
    for _ in range(TASKS):
        rows = {p.name: rng.normal(size=(400, p.shape[0])) + rng.normal(size=p.shape[0]) for p in places.parameters}
        grams.append(places.flatten({name: x.T @ x for name, x in rows.items()}))
    return MergeInputs(vectors, layout=LAYOUT, grams=grams)


def of_matrix(inputs: MergeInputs, name: str) -> list[np.ndarray]:
    return [LAYOUT.unflatten(np.asarray(vector))[name] for vector in inputs.task_vectors]


def off(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("name", NAMES)
def test_singular_values_are_as_good_as_in_float64(inputs: MergeInputs, name: str) -> None:
    tasks, rank = of_matrix(inputs, name), min(SHAPES[name]) // TASKS
    assert off(LAYOUT.unflatten(whole_direction("iso_c", inputs))[name], isotropic(tasks)) < 1e-7
    assert off(LAYOUT.unflatten(whole_direction("tsv_m", inputs))[name], orthogonalised(tasks, rank)) < 1e-7


@pytest.mark.parametrize("name", NAMES)
def test_regressions_are_nearly_as_good_as_in_float64(inputs: MergeInputs, name: str) -> None:
    grams = [gram_layout(LAYOUT).unflatten(np.asarray(vector))[name] for vector in inputs.grams or []]
    expected = regression(grams, [task.T for task in of_matrix(inputs, name)], 0.9).T
    assert off(LAYOUT.unflatten(whole_direction("regmean", inputs))[name], expected) < 2e-6


def test_where_float32_is_not_enough_float64_takes_its_place(
    inputs: MergeInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(load("regmean").formula.__globals__, "TOLERANCE", 1e-12)
    found = LAYOUT.unflatten(whole_direction("regmean", inputs))
    for name in NAMES:
        grams = [gram_layout(LAYOUT).unflatten(np.asarray(vector))[name] for vector in inputs.grams or []]
        expected = regression(grams, [task.T for task in of_matrix(inputs, name)], 0.9).T
        assert off(found[name], expected) < 6e-8  # what float32 can hold


@pytest.mark.parametrize("ratio", [0.02, 0.3, 0.9, 1.0])
def test_balanced_scores_are_the_formula_s_bit_for_bit(inputs: MergeInputs, ratio: float) -> None:
    expected = balanced([np.asarray(vector) for vector in inputs.task_vectors], ratio, 0.01)
    np.testing.assert_array_equal(whole_direction("pcb", inputs, {"ratio": ratio}), expected)


@pytest.mark.parametrize(
    "method", ["regmean", "pcb", *(name for name in names() if "attention" in load(name).parameters)]
)
def test_the_number_of_threads_does_not_matter(
    inputs: MergeInputs, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(whole_direction(method, inputs).tobytes())
    assert len(set(found)) == 1


def test_no_more_run_together_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    layout = Layout.of({f"w{index}": (10 * (index % 4 + 1),) for index in range(24)})
    taken, most, lock = 0, 0, threading.Lock()

    def values(parameter: Parameter) -> np.ndarray:
        nonlocal taken, most
        with lock:
            taken += parameter.size
            most = max(most, taken)
        time.sleep(0.002)
        with lock:
            taken -= parameter.size
        return np.arange(parameter.offset, parameter.stop, dtype=np.float32)

    for room, expected in ((60, range(30, 61)), (1, range(10, 41)), (10**6, range(60, 10**6))):
        monkeypatch.setattr("tatr.merging.matrices.each_parameter.ROOM", room)
        most = 0
        found = np.concatenate([*each_parameter(values, layout, lambda parameter: parameter.size)])
        np.testing.assert_array_equal(found, np.arange(layout.size))
        assert most in expected


def test_an_error_surfaces_and_others_do_not_wait_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr("tatr.merging.matrices.each_parameter.ROOM", 1)

    def fail(parameter: Parameter) -> np.ndarray:
        raise ValueError(parameter.name)

    with pytest.raises(ValueError, match=r"visual.square.weight"):
        list(each_parameter(fail, LAYOUT, lambda parameter: parameter.size))


def test_linear_algebra_keeps_to_one_thread_meanwhile() -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before, inside = threads(), []

    def values(parameter: Parameter) -> np.ndarray:
        inside.append(threads())
        return np.zeros(parameter.size, np.float32)

    list(each_parameter(values, LAYOUT, lambda parameter: parameter.size))
    assert all(set(each) <= {1} for each in inside)
    assert threads() == before
