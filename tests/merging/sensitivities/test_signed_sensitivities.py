"""The sensitivities that decide by signs: against the double sum they stand for, exactly and where terms cancel."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tatr.errors import TatrError
from tatr.merging.mask import end_of_region, mask
from tatr.merging.sensitivities import load, of_region, signed_cross_sum
from tatr.vectors import vector as vector_module

numbers = st.one_of(st.just(0.0), st.floats(2.0**-30, 2.0**30, width=32), st.floats(-(2.0**30), -(2.0**-30), width=32))
NAMES = ("positive", "negative")


@st.composite
def tasks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Signed gradients and task vectors, each [K, N]."""
    shape = draw(st.tuples(st.integers(2, 5), st.integers(1, 15)))
    return draw(arrays(np.float32, shape, elements=numbers)), draw(arrays(np.float32, shape, elements=numbers))


def double_sum(gradients: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Σ_{i≠j} ∇L_j ⊙ Δ_i as it is printed, in float64."""
    pairs = [(i, j) for i in range(len(vectors)) for j in range(len(vectors)) if i != j]
    total: np.ndarray = np.sum([np.float64(gradients[j]) * np.float64(vectors[i]) for i, j in pairs], axis=0)
    return total


def kept(name: str, gradients: np.ndarray, vectors: np.ndarray, strip: int = 4) -> np.ndarray:
    """The mask, read in two parts."""
    sensitivity, size = load(name), gradients.shape[1]
    omega = sensitivity.of(task_vectors=vectors, signed_gradients=gradients)
    assert sensitivity.threshold is not None
    region = mask(omega, sensitivity.threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_module, "STRIP", strip)
        return np.concatenate([region[0 : size // 2], region[size // 2 : size]])


@given(tasks(), st.integers(1, 7))
def test_the_sum_equals_the_double_sum(given_tasks: tuple[np.ndarray, np.ndarray], strip: int) -> None:
    gradients, vectors = given_tasks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_module, "STRIP", strip)
        found = signed_cross_sum(gradients, vectors)[0 : gradients.shape[1]]
    assert found.dtype == np.float64
    scale = double_sum(np.abs(gradients), np.abs(vectors))
    assert (np.abs(found - double_sum(gradients, vectors)) <= 1e-14 * scale).all()


@given(tasks())
def test_what_is_kept_has_a_sum_of_one_sign(given_tasks: tuple[np.ndarray, np.ndarray]) -> None:
    gradients, vectors = given_tasks
    total, scale = double_sum(gradients, vectors), double_sum(np.abs(gradients), np.abs(vectors))
    clear = (np.abs(total) > 1e-13 * scale) | (scale == 0)
    np.testing.assert_array_equal(kept("positive", gradients, vectors)[clear], (total > 0)[clear])
    np.testing.assert_array_equal(kept("negative", gradients, vectors)[clear], (total < 0)[clear])
    assert not (kept("positive", gradients, vectors) & kept("negative", gradients, vectors)).any()


@given(st.integers(0, 999))
def test_of_two_tasks_every_sign_is_that_of_exact_arithmetic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(2, 50)).astype(np.float32)
    vectors = rng.normal(size=(2, 50)).astype(np.float32)
    # ∇L_1·Δ_2 nearly cancels ∇L_2·Δ_1.
    vectors[1] = -gradients[1].astype(np.float64) * vectors[0] / gradients[0]
    exact = [
        Fraction(float(g1)) * Fraction(float(v2)) + Fraction(float(g2)) * Fraction(float(v1))
        for g1, g2, v1, v2 in zip(*gradients, *vectors, strict=True)
    ]
    np.testing.assert_array_equal(kept("positive", gradients, vectors), [total > 0 for total in exact])
    np.testing.assert_array_equal(kept("negative", gradients, vectors), [total < 0 for total in exact])


def test_a_tasks_own_product_does_not_hide_the_others() -> None:
    gradients = np.array([[-1e20], [0], [1e-17]], np.float32)
    vectors = np.array([[1e18], [1e-20], [0]], np.float32)
    # −1e20 · 1e-20 + 1e-17 · (1e18 + 1e-20) = 9; what task 1 does to itself is −1e38.
    np.testing.assert_allclose(signed_cross_sum(gradients, vectors)[0:1], [9.0], rtol=1e-6)
    assert kept("positive", gradients, vectors).tolist() == [True]


def test_two_tasks_by_hand() -> None:
    gradients = np.array([[1, -2, 0, 1], [3, 5, 7, -1]], np.float32)
    vectors = np.array([[1, -1, 0, 2], [-4, 0, 2, 2]], np.float32)
    # ∇L_1·Δ_2 + ∇L_2·Δ_1 = −4 + 3, −5, 0, 2 − 2
    assert kept("positive", gradients, vectors).tolist() == [False] * 4
    assert kept("negative", gradients, vectors).tolist() == [True, True, False, False]
    omega = load("negative").of(task_vectors=vectors, signed_gradients=gradients)
    assert omega[0:4].dtype == np.float32
    assert end_of_region(omega, None, 1) == (1, 2)


def test_a_region_that_keeps_nothing_is_refused() -> None:
    zeros = np.zeros((2, 9), np.float32)
    omega = load("positive").of(task_vectors=zeros, signed_gradients=zeros)
    with pytest.raises(TatrError, match="nothing would be kept, as the sensitivity is below 1 nowhere"):
        end_of_region(omega, None, 1)


@pytest.mark.parametrize("name", NAMES)
def test_tau_is_refused_and_not_asked_for(name: str) -> None:
    assert of_region(name, None, "zero_shot", 2) is load(name)
    with pytest.raises(TatrError, match=rf"tau = 0\.1: sensitivity '{name}' decides by itself .*; leave tau out"):
        of_region(name, 0.1, "zero_shot", 2)
    with pytest.raises(TatrError, match=f"'{name}': needs signed_gradients, which were not given"):
        load(name).of(task_vectors=np.ones((2, 3), np.float32), gradients=np.ones((2, 3), np.float32))


def test_the_usual_one_is_taken_with_tau_and_none_without() -> None:
    assert of_region(None, None, "zero_shot", 1) is None
    assert of_region(None, 0.1, "zero_shot", 2) is load("zero_shot")
    with pytest.raises(TatrError, match="tau: missing"):
        end_of_region(np.ones(3, np.float32), None, None)
