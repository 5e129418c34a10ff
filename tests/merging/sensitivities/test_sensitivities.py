"""Ω: the streamed sum over pairs of tasks against the double sum it stands for."""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from tatr.errors import TatrError
from tatr.merging import sensitivities
from tatr.merging.sensitivities import cross_sum, load, names, pair_sum, sensitivity
from tatr.vectors import layout
from tatr.vectors import vector as vector_module
from tatr.vectors.vector import Vector

Arrays = Sequence[np.ndarray]

magnitudes = st.one_of(st.just(0.0), st.floats(2.0**-40, 2.0**40, width=32))
"""Heavy-tailed: 24 orders of magnitude."""


@st.composite
def tasks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Gradients ≥ 0 and signed task vectors, each [K, N]."""
    shape = draw(st.tuples(st.integers(2, 6), st.integers(1, 20)))
    gradients = draw(arrays(np.float32, shape, elements=magnitudes))
    signs = draw(arrays(np.int8, shape, elements=st.sampled_from([-1, 1])))
    return gradients, draw(arrays(np.float32, shape, elements=magnitudes)) * signs


def double_sum(gradients: Arrays, vectors: Arrays) -> np.ndarray:
    """Eq. 8 as it is printed, in float64."""
    pairs = [(i, j) for i in range(len(vectors)) for j in range(len(vectors)) if i != j]
    return np.sum([np.float64(gradients[j]) * np.abs(np.float64(vectors[i])) for i, j in pairs], axis=0)


def streamed(vectors: Arrays, gradients: Arrays | None = None, block: int = layout.BLOCK) -> np.ndarray:
    """Ω read in blocks, which are computed in smaller strips, a few tasks at a time."""
    omega = load("zero_shot" if gradients is None else "gradient").of(task_vectors=vectors, gradients=gradients)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_module, "STRIP", max(1, block // 3))
        patch.setattr(sensitivities, "TOGETHER", 2)
        starts = range(0, len(omega), block)
        return np.concatenate([omega[start : min(start + block, len(omega))] for start in starts])


@given(tasks(), st.integers(1, 25))
def test_it_equals_the_double_sum(given_tasks: tuple[np.ndarray, np.ndarray], block: int) -> None:
    gradients, vectors = given_tasks
    omega = streamed(vectors, gradients, block)
    assert omega.dtype == np.float32
    np.testing.assert_allclose(omega, double_sum(gradients, vectors), rtol=1e-6, atol=0)


@given(tasks(), st.integers(1, 25))
def test_zero_shot_equals_the_double_sum_of_magnitudes(given_tasks: tuple[np.ndarray, np.ndarray], block: int) -> None:
    _, vectors = given_tasks
    np.testing.assert_allclose(streamed(vectors, None, block), double_sum(np.abs(vectors), vectors), rtol=1e-6, atol=0)


@given(tasks())
def test_the_sum_over_pairs_is_the_cross_sum_of_what_reacts_and_moves_alike(
    given_tasks: tuple[np.ndarray, np.ndarray],
) -> None:
    _, vectors = given_tasks
    everything = slice(0, vectors.shape[1])
    np.testing.assert_array_equal(pair_sum(vectors)[everything], cross_sum(np.abs(vectors), vectors)[everything])


@pytest.mark.parametrize("count", [2, 8])
def test_no_digits_are_lost_where_one_task_dwarfs_the_others(count: int) -> None:
    rng = np.random.default_rng(0)
    gradients = np.exp(rng.normal(0, 6, (count, 100_000))).astype(np.float32)
    vectors = (np.exp(rng.normal(0, 6, gradients.shape)) * rng.choice([-1, 1], gradients.shape)).astype(np.float32)
    expected = double_sum(gradients, vectors)
    np.testing.assert_allclose(streamed(vectors, gradients), expected, rtol=1e-6, atol=0)
    # The textbook form, Σ G · Σ A − Σ G·A, would not pass: this test can tell the two apart.
    sizes = np.abs(vectors)
    subtractive = gradients.sum(axis=0) * sizes.sum(axis=0) - (gradients * sizes).sum(axis=0)
    assert np.max(np.abs(subtractive - expected) / expected) > 1e-5


@given(tasks(), st.randoms(use_true_random=False))
def test_the_order_of_tasks_does_not_matter(given_tasks: tuple[np.ndarray, np.ndarray], random: st.DataObject) -> None:
    gradients, vectors = given_tasks
    order = list(range(len(vectors)))
    random.shuffle(order)  # type: ignore[attr-defined]
    np.testing.assert_allclose(streamed(vectors[order], gradients[order]), streamed(vectors, gradients), rtol=2e-6)


def test_two_tasks_by_hand() -> None:
    gradients = np.array([[1, 2, 0], [3, 5, 7]], np.float32)
    vectors = np.array([[10, -20, 30], [-1, 0, 2]], np.float32)
    # Ω = G_1·|Δ_2| + G_2·|Δ_1|
    np.testing.assert_array_equal(streamed(vectors, gradients), [1 * 1 + 3 * 10, 2 * 0 + 5 * 20, 0 * 2 + 7 * 30])
    np.testing.assert_array_equal(streamed(vectors), [2 * 10 * 1, 0, 2 * 30 * 2])


def test_a_tasks_own_gradient_on_its_own_vector_does_not_count() -> None:
    gradients = np.array([[1, 0], [0, 0], [0, 0]], np.float32)
    vectors = np.array([[9, 9], [0, 0], [0, 0]], np.float32)
    np.testing.assert_array_equal(streamed(vectors, gradients), [0, 0])
    np.testing.assert_array_equal(streamed(vectors[[1, 0, 2]], gradients), [9, 0])


@given(tasks())
def test_it_is_positive_wherever_one_tasks_gradient_meets_anothers_vector(
    given_tasks: tuple[np.ndarray, np.ndarray],
) -> None:
    # A published implementation kept all gradients under one key: its Ω was 0 and its merge the pre-trained model.
    gradients, vectors = given_tasks
    meets = double_sum(gradients > 0, vectors != 0) > 0
    np.testing.assert_array_equal(streamed(vectors, gradients) > 0, meets)


def test_inputs_are_left_as_they_are() -> None:
    gradients, vectors = np.ones((3, 4), np.float32), -np.ones((3, 4), np.float32)
    streamed(vectors, gradients)
    assert len(cross_sum(gradients, vectors)[0:4]) == 4
    np.testing.assert_array_equal(gradients, 1)
    np.testing.assert_array_equal(vectors, -1)


def test_one_task_alone_and_missing_gradients_are_refused() -> None:
    vectors = np.ones((3, 4), np.float32)
    with pytest.raises(TatrError, match="at least two tasks"):
        streamed(vectors[:1])
    with pytest.raises(TatrError, match="3 task vectors but 2 gradients"):
        streamed(vectors, vectors[:2])
    with pytest.raises(TatrError, match="'gradient': needs gradients, which were not given"):
        load("gradient").of(task_vectors=vectors)
    with pytest.raises(TatrError, match="vectors of 3, 4 entries can't be combined"):
        load("zero_shot").of(task_vectors=[vectors[0], vectors[1][:3]])


def test_an_unknown_sensitivity_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        TatrError,
        match=rf"sensitivity 'hessian': unknown; expected one of {', '.join(names())}$",
    ):
        load("hessian")


@pytest.mark.parametrize("name", names())
def test_a_sensitivity_is_documented(name: str) -> None:
    assert load(name).name == name
    assert load(name).title
    assert str(load(name).formula.__doc__).startswith("Ω = ")
    assert {"task_vectors", "gradients", "signed_gradients"} >= set(load(name).needs) != set()


@pytest.mark.parametrize("name", names())
def test_every_sensitivity_is_a_float32_vector_from_0_up_however_it_is_cut(name: str) -> None:
    size = 200_001
    rng = np.random.default_rng(0)
    given_vectors = {
        "task_vectors": rng.standard_normal((3, size)).astype(np.float32),
        "gradients": rng.random((3, size)).astype(np.float32),
        "signed_gradients": rng.standard_normal((3, size)).astype(np.float32),
    }
    omega = load(name).of(**{need: given_vectors[need] for need in load(name).needs})
    whole = omega[0:size]
    assert whole.dtype == np.float32
    assert whole.min() >= 0
    assert whole.max() > 0
    parts = [omega[start:stop] for start, stop in itertools.pairwise([0, 1, 65_536, 100_003, size])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@given(tasks())
def test_another_sensitivity_is_one_function(given_tasks: tuple[np.ndarray, np.ndarray]) -> None:
    @sensitivity("TATR by gradients twice as large")
    def doubled(gradients: Sequence[Vector]) -> Vector:
        return cross_sum(gradients, [2 * gradient for gradient in gradients])

    gradients, _ = given_tasks
    assert (doubled.name, doubled.needs) == ("doubled", ["gradients"])
    found = doubled.of(gradients=gradients)[0 : gradients.shape[1]]
    np.testing.assert_allclose(found, double_sum(gradients, 2 * gradients), rtol=1e-6, atol=0)


@given(tasks())
def test_ntk_equals_the_double_sum_of_gradients(given_tasks: tuple[np.ndarray, np.ndarray]) -> None:
    gradients, _ = given_tasks
    found = load("ntk").of(gradients=gradients)[0 : gradients.shape[1]]
    np.testing.assert_allclose(found, double_sum(gradients, gradients), rtol=1e-6, atol=0)


@given(tasks())
def test_controls_are_sums_of_what_they_know(given_tasks: tuple[np.ndarray, np.ndarray]) -> None:
    gradients, vectors = given_tasks
    slopes = load("slope").of(gradients=gradients)[0 : gradients.shape[1]]
    np.testing.assert_allclose(slopes, gradients.sum(axis=0, dtype=np.float64), rtol=1e-6, atol=0)
    sizes = load("magnitude").of(task_vectors=vectors)[0 : vectors.shape[1]]
    np.testing.assert_allclose(sizes, np.abs(vectors).sum(axis=0, dtype=np.float64), rtol=1e-6, atol=0)


def test_a_random_region_is_uniform_the_same_every_time_and_however_it_is_cut() -> None:
    vectors = np.ones((2, 200_001), np.float32)
    whole = load("random").of(task_vectors=vectors)[0:200_001]
    cuts = [0, 1, 7, 8, 9, 4000, 65_536, 100_003, 200_001]
    omega = load("random").of(task_vectors=-vectors)  # whatever the task vectors are
    parts = [omega[start:stop] for start, stop in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.dtype == np.float32
    assert stats.kstest(whole, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(whole[1:], whole[:-1])[0, 1]) < 0.01


def test_a_module_put_into_the_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from tatr.merging.sensitivities import cross_sum, sensitivity\n\n"
        "@sensitivity('Mine')\n"
        "def mine(gradients):\n    return cross_sum(gradients, gradients)\n"
    )
    before = names()
    monkeypatch.setattr(sensitivities, "__path__", [*sensitivities.__path__, str(tmp_path)])
    assert {*names()} == {*before, "mine"}
    assert load("mine").of(gradients=np.ones((3, 4), np.float32))[0:4].tolist() == [6.0] * 4
    load.cache_clear()
    sys.modules.pop("tatr.merging.sensitivities.mine")


def test_a_module_without_its_function_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bare.py").write_text("def bare(gradients):\n    return gradients\n")
    monkeypatch.setattr(sensitivities, "__path__", [*sensitivities.__path__, str(tmp_path)])
    with pytest.raises(TatrError, match=r"sensitivities/bare.py: has no function `bare` under @sensitivity\(title\)"):
        load("bare")
    sys.modules.pop("tatr.merging.sensitivities.bare")


def test_magnitudes_are_computed_when_they_are_read() -> None:
    values = np.array([1, -2, 0], np.float32)
    (sizes,) = sensitivities.magnitudes([values])
    values[0] = -5
    np.testing.assert_array_equal(sizes[0:3], [5, 2, 0])
