"""Components of a vector: by sorting, in float64; disjoint, and together the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tatr.errors import TatrError
from tatr.merging.components import components, signs_of_products
from tatr.merging.mask import mask, thresholds
from tatr.merging.sensitivities import signed_cross_sum
from tatr.vectors import layout

SIZE = 40
entries = st.floats(-8, 8, width=32, allow_subnormal=False)


def distinct(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vector, gradient = rng.standard_normal((2, SIZE)).astype(np.float32)
    return vector, gradient


@given(st.integers(0, 10**6), st.integers(1, 39), st.integers(1, 50))
def test_they_are_those_of_sorted_products(seed: int, count: int, block: int) -> None:
    vector, gradient = distinct(seed)
    products = np.float64(gradient) * np.float64(vector)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        orthogonal, positive, negative = (part[0:SIZE] for part in components(vector, products, count / SIZE))
    largest = np.argsort(np.abs(products))[SIZE - count :]
    expected = np.zeros(SIZE, int)
    expected[largest] = np.sign(products[largest])
    np.testing.assert_array_equal(orthogonal, np.where(expected == 0, vector, 0))
    np.testing.assert_array_equal(positive, np.where(expected == 1, vector, 0))
    np.testing.assert_array_equal(negative, np.where(expected == -1, vector, 0))


@given(arrays(np.float32, 20, elements=entries), arrays(np.float32, 20, elements=entries))
def test_they_sum_to_the_whole_and_have_the_sign_they_are_called_by(vector: np.ndarray, gradient: np.ndarray) -> None:
    products = gradient * vector
    if np.sort(np.abs(products))[-10] == np.abs(products).min():
        with pytest.raises(TatrError, match="nothing would be kept"):
            components(vector, products, 0.5)
        return
    orthogonal, positive, negative = (part[0:20] for part in components(vector, products, 0.5))
    np.testing.assert_array_equal(orthogonal + positive + negative, vector)
    assert (gradient * positive >= 0).all()
    assert (gradient * negative <= 0).all()
    assert np.count_nonzero(signs_of_products(products, 0.5)[0:20]) >= 10
    assert orthogonal.dtype == positive.dtype == negative.dtype == np.float32


def test_the_orthogonal_one_is_what_a_trust_region_of_the_products_keeps() -> None:
    vector, gradient = distinct(1)
    products = np.abs(gradient * vector)
    ((epsilon, _),) = thresholds(products, [0.2])
    kept = mask(products, epsilon)[0:SIZE]
    np.testing.assert_array_equal(components(vector, gradient * vector, 0.2).orthogonal[0:SIZE], vector * kept)


def test_of_a_sum_of_task_vectors_the_products_of_pairs_decide() -> None:
    rng = np.random.default_rng(3)
    gradients, vectors = rng.standard_normal((2, 3, SIZE)).astype(np.float32)
    total = vectors.sum(axis=0)
    expected = sum(np.float64(gradients[j]) * vectors[i] for i in range(3) for j in range(3) if i != j)
    largest = np.argsort(np.abs(expected))[SIZE - 8 :]
    found = signs_of_products(signed_cross_sum(gradients, vectors), 0.2)[0:SIZE]
    assert {*np.flatnonzero(found)} == {*largest}
    np.testing.assert_array_equal(found[largest], np.sign(expected[largest]))
    positive = components(total, signed_cross_sum(gradients, vectors), 0.2).positive[0:SIZE]
    np.testing.assert_array_equal(positive, np.where(found == 1, total, 0))


@pytest.mark.parametrize("tau", [0, 1, -0.1, float("nan")])
def test_a_share_that_leaves_nothing_on_one_side_is_refused(tau: float) -> None:
    with pytest.raises(TatrError, match="expected the share of positive and negative entries"):
        components(*distinct(0), tau)
