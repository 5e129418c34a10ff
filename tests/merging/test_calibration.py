"""Calibration of singular values against its formula, and what follows from it."""

import tracemalloc

import numpy as np
import pytest
from drawn_tasks import SHAPES as KINDS
from float64_formulas import svc
from measured import LAYOUT as ENCODER
from measured import grams_of, random_inputs

from tatr.errors import TatrError
from tatr.merging.calibration import alpha_of, calibrated, calibrated_matrix, check_calibration
from tatr.merging.merge import MergeInputs, direction
from tatr.merging.methods import load, names
from tatr.vectors import layout as layouts
from tatr.vectors.apply import parts_of
from tatr.vectors.layout import Layout

SHAPES = KINDS | {
    "visual.transformer.resblocks.0.mlp.c_fc.weight": (9, 6),
    "visual.transformer.resblocks.0.mlp.c_proj.weight": (6, 9),
    "none": (0, 3),
}
LAYOUT = Layout.of(SHAPES)
MATRICES = [name for name, shape in SHAPES.items() if len(shape) == 2]


def tasks(count: int = 3, size: int = LAYOUT.size, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def whole(vectors: np.ndarray, alpha: float = 1 / 3, coefficient: float = 0.3, v: object = None) -> np.ndarray:
    merged = vectors.sum(axis=0) if v is None else v
    coefficients = [coefficient] * len(SHAPES)
    return np.concatenate([*calibrated(merged, [*vectors], LAYOUT, coefficients, alpha)])


@pytest.mark.parametrize("alpha", [0.1, 1 / 3, 1.0])
def test_each_matrix_is_the_formula_and_the_rest_is_scaled(alpha: float) -> None:
    vectors = tasks()
    found = LAYOUT.unflatten(whole(vectors, alpha))
    for name in SHAPES:
        deltas = [LAYOUT.unflatten(vector)[name] for vector in vectors]
        merged = 0.3 * np.sum(deltas, axis=0, dtype=np.float64)
        if name not in MATRICES or not merged.size:
            np.testing.assert_allclose(found[name], merged, rtol=1e-6, atol=1e-7, err_msg=name)
        elif name == "visual.proj":  # is used as x·W, so its outputs are its columns
            expected = svc(merged.T, [delta.T for delta in deltas], alpha).T
            np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)
            on_the_other_side = svc(merged, deltas, alpha)
            assert np.allclose(found[name], on_the_other_side, atol=1e-2) == (alpha == 1)
        else:
            np.testing.assert_allclose(found[name], svc(merged, deltas, alpha), rtol=1e-4, atol=1e-5)


def test_of_one_task_alone_it_gives_the_task_back_whatever_the_coefficient() -> None:
    delta = tasks(1)
    found = whole(delta, alpha=0.01, coefficient=0.3)
    for name, values in LAYOUT.unflatten(found).items():
        factor = 1 if name in MATRICES else 0.3
        np.testing.assert_allclose(values, factor * LAYOUT.unflatten(delta[0])[name], rtol=1e-4, atol=1e-5)


def test_tasks_in_directions_of_their_own_keep_their_strength_and_a_shared_one_is_damped() -> None:
    # Orthogonal outputs: task 1 changes the first two, task 2 the third; both change the last in the same way.
    first, second = np.zeros((4, 5)), np.zeros((4, 5))
    first[:2, :2], second[2, 2] = [[3, 0], [0, 2]], 1.5
    first[3, 4] = second[3, 4] = 1
    found = calibrated_matrix(first + second, [first, second], 0.5)
    expected = first + second
    expected[:3] *= 2 / 1.5  # of its own task s = 1, of the other one α
    expected[3] *= 2 / (2 + 2)  # the sum is twice what each has learnt
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_alpha_bounds_how_much_is_amplified() -> None:
    deltas = [np.random.default_rng(0).normal(size=(6, 7))] * 3
    against = -3 * deltas[0]  # all s are negative
    np.testing.assert_allclose(calibrated_matrix(against, deltas, 0.25), 4 * against, rtol=1e-10)


def test_with_alpha_one_it_only_damps() -> None:
    deltas = np.random.default_rng(0).normal(size=(3, 8, 7))
    for coefficient in (0.1, 0.5, 2):
        merged = coefficient * deltas.sum(axis=0)
        found = np.linalg.svd(calibrated_matrix(merged, deltas, 1.0), compute_uv=False)
        assert (found <= np.linalg.svd(merged, compute_uv=False) * (1 + 1e-9)).all()


def test_the_result_does_not_depend_on_lambda_where_alpha_has_no_part() -> None:
    common = np.random.default_rng(1).normal(size=(6, 5))
    deltas = [common + 0.01 * np.random.default_rng(seed).normal(size=(6, 5)) for seed in range(3)]
    one, other = (calibrated_matrix(factor * sum(deltas), deltas, 1e-6) for factor in (0.2, 0.7))
    np.testing.assert_allclose(one, other, rtol=1e-9)
    assert not np.allclose(one, calibrated_matrix(0.2 * sum(deltas), deltas, 1.0), rtol=1e-2)


def test_a_task_that_left_a_direction_alone_counts_with_alpha() -> None:
    moved = np.random.default_rng(0).normal(size=(5, 7))
    still = np.zeros((5, 7))
    np.testing.assert_allclose(calibrated_matrix(moved, [moved, still], 0.25), 2 / 1.25 * moved, rtol=1e-9)


def test_what_rounding_leaves_of_a_task_in_a_direction_counts_as_nothing() -> None:
    moved = np.random.default_rng(0).normal(size=(5, 7))
    left, values, right = np.linalg.svd(moved, full_matrices=False)
    leading = values[0] * np.outer(left[:, 0], right[0])  # along the others, products are of the order of 1e-17
    assert (np.abs(left[:, 1:].T @ leading) > 0).any(axis=1).all()
    expected = leading + 2 / 1.25 * (moved - leading)
    np.testing.assert_allclose(calibrated_matrix(moved, [moved, leading], 0.25), expected, rtol=1e-9, atol=1e-12)


def test_directions_in_which_nothing_happens_stay_zero() -> None:
    assert not calibrated_matrix(np.zeros((4, 3)), [np.ones((4, 3))], 0.5).any()
    rank_one = np.outer([1.0, 2, 3], [1.0, 0, 0, 2])
    found = calibrated_matrix(rank_one, [rank_one, rank_one], 0.5)
    np.testing.assert_allclose(found, rank_one, atol=1e-12)


def test_the_order_of_tasks_the_blocks_and_the_threads_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, found = tasks(), []
    for threads, block in (("1", 2**20), ("3", 64), ("1", 7)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        monkeypatch.setattr(layouts, "BLOCK", block)
        found.append(whole(vectors).tobytes())
    assert len(set(found)) == 1
    np.testing.assert_allclose(whole(vectors[[2, 0, 1]]), whole(vectors), atol=1e-5)


def test_a_direction_that_comes_in_blocks_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "BLOCK", 50)
    vectors = tasks()
    v = np.concatenate([*parts_of(direction("tsv_m", MergeInputs([*vectors], LAYOUT)))])
    streamed = direction("tsv_m", MergeInputs([*vectors], LAYOUT))
    np.testing.assert_array_equal(whole(vectors, v=streamed), whole(vectors, v=v))


def test_each_parameter_has_a_coefficient_of_its_own() -> None:
    vectors = tasks()
    coefficients = [0.1 * index for index in range(len(SHAPES))]
    found = LAYOUT.unflatten(np.concatenate([*calibrated(vectors.sum(0), [*vectors], LAYOUT, coefficients, 1.0)]))
    for name, coefficient in [*zip(SHAPES, coefficients, strict=True)][1:8:3]:
        expected = LAYOUT.unflatten(whole(vectors, 1.0, coefficient))[name]
        np.testing.assert_allclose(found[name], expected, rtol=1e-6)


def test_vectors_of_another_encoder_are_refused() -> None:
    vectors = tasks()
    with pytest.raises(TatrError, match=r"calibration: vectors of .* but a layout of"):
        calibrated(vectors[0][:-1], [*vectors[:, :-1]], LAYOUT, [1.0] * len(SHAPES), 0.5)
    with pytest.raises(TatrError, match="can't be combined"):
        calibrated(vectors[0][:-1], [*vectors], LAYOUT, [1.0] * len(SHAPES), 0.5)


def test_alpha_is_the_given_one_or_the_methods_or_one_over_the_tasks() -> None:
    assert alpha_of(load("task_arithmetic"), 8) == 1 / 8
    assert alpha_of(load("tsv_m"), 8) == 1
    assert alpha_of(load("tsv_m"), 8, 0.5) == 0.5
    with pytest.raises(TatrError, match=r"calibration: 'svd' is unknown; expected svc"):
        check_calibration("svd", load("ties"))


def test_methods_whose_singular_values_are_equal_say_so_and_are_refused() -> None:
    vectors, grams = tasks(4, ENCODER.size), grams_of(random_inputs(4))
    for name in names():
        method = load(name)
        if set(method.needs) - {"layout", "grams"}:
            assert not method.equal_singular_values
            continue
        v = np.concatenate([*parts_of(direction(name, MergeInputs([*vectors], ENCODER, grams=grams)))])
        matrix = ENCODER.unflatten(v)["visual.transformer.resblocks.0.mlp.c_fc.weight"]
        values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
        assert method.equal_singular_values == (values.max() - values.min() < 1e-5 * values.max()), name
        if method.equal_singular_values:
            with pytest.raises(TatrError, match=f"calibration: {name} makes all singular values of a matrix equal"):
                alpha_of(method, 4)


def test_memory_holds_a_matrix_not_the_tasks() -> None:
    shape = (256, 512)
    deltas = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    merged = deltas.sum(axis=0, dtype=np.float64)
    tracemalloc.start()
    calibrated_matrix(merged, (delta.astype(np.float64) for delta in deltas), 0.3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * merged.size
