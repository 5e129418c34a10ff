"""Merging: Task Arithmetic, averaging, and where a trust region enters."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tatr import layout, merging, methods
from tatr.errors import TatrError
from tatr.layout import blocks
from tatr.merging import direction
from tatr.methods import Method, load, method, names
from tatr.sensitivity import sensitivity
from tatr.trust_region import keep, thresholds
from tatr.vector import Vector

elements = st.floats(-100, 100, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)
task_vectors = arrays(np.float32, st.tuples(st.integers(2, 6), st.integers(1, 30)), elements=elements)
block_sizes = st.integers(1, 40)


def merged(name: str, vectors: np.ndarray, mask: np.ndarray | None = None, block: int = layout.BLOCK) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        return np.concatenate(list(direction(name, [*vectors], mask)))


def trust_region(vectors: np.ndarray, tau: float, gradients: np.ndarray | None = None) -> np.ndarray:
    omega = np.concatenate(list(sensitivity(vectors, gradients)))
    return np.concatenate(list(keep(omega, thresholds(omega, [tau])[0])))


def random_tasks(count: int = 4, size: int = 1000) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, size)).astype(np.float32)


@given(task_vectors, block_sizes)
def test_task_arithmetic_is_the_sum(vectors: np.ndarray, block: int) -> None:
    found = merged("task_arithmetic", vectors, block=block)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, vectors.astype(np.float64).sum(axis=0), rtol=1e-5, atol=1e-4)


@given(task_vectors, block_sizes)
def test_weight_averaging_is_the_mean_of_the_models(vectors: np.ndarray, block: int) -> None:
    pretrained = np.linspace(-1, 1, vectors.shape[1])
    found = merged("weight_average", vectors, block=block)
    assert found.dtype == np.float32
    np.testing.assert_allclose(pretrained + found, (pretrained + vectors).mean(axis=0), rtol=1e-5, atol=1e-4)


@given(task_vectors, block_sizes)
def test_with_tau_zero_tatr_is_task_arithmetic_bit_for_bit(vectors: np.ndarray, block: int) -> None:
    kept = trust_region(vectors, tau=0)
    plain = merged("task_arithmetic", vectors)
    assert merged("task_arithmetic", vectors, kept, block).tobytes() == plain.tobytes()


@given(arrays(bool, 30), block_sizes, st.floats(0, 2))
def test_tatr_is_equation_10(kept: np.ndarray, block: int, coefficient: float) -> None:
    vectors, pretrained = random_tasks(size=30), np.random.default_rng(0).normal(size=30)
    model = pretrained + coefficient * merged("task_arithmetic", vectors, kept, block)
    expected = pretrained.copy()
    for vector in vectors.astype(np.float64):
        expected += coefficient * vector * kept
    np.testing.assert_allclose(model, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model[~kept], pretrained[~kept])


@pytest.mark.parametrize("with_gradients", [True, False])
@pytest.mark.parametrize("tau", [0.001, 0.01, 0.05])
def test_the_merge_keeps_one_minus_tau_and_is_not_the_pretrained_model(tau: float, with_gradients: bool) -> None:
    # A published implementation's mask is empty: it evaluates the pre-trained model under TATR's name.
    vectors = random_tasks()
    kept = trust_region(vectors, tau, np.abs(random_tasks()[::-1]) if with_gradients else None)
    found = merged("task_arithmetic", vectors, kept)
    assert (found != 0).mean() == pytest.approx(1 - tau)
    np.testing.assert_array_equal(found[kept], merged("task_arithmetic", vectors)[kept])


@pytest.mark.parametrize("name", names())
def test_the_order_of_tasks_does_not_matter(name: str) -> None:
    vectors, order = random_tasks(), [2, 0, 3, 1]
    gradients = np.abs(random_tasks()[::-1])
    one = merged(name, vectors, trust_region(vectors, 0.05, gradients))
    other = merged(name, vectors[order], trust_region(vectors[order], 0.05, gradients[order]))
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", names())
def test_a_method_streams_leaves_its_inputs_alone_and_is_documented(name: str) -> None:
    vectors = random_tasks()
    before = vectors.copy()
    whole = merged(name, vectors)
    assert whole.shape == (1000,)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(merged(name, vectors, block=64), whole)
    np.testing.assert_array_equal(vectors, before)
    assert load(name).name == name
    assert "v =" in str(load(name).blocks.__doc__).lower()


@pytest.mark.parametrize("name", names())
def test_one_task_alone_merges_to_itself(name: str) -> None:
    vectors = random_tasks(count=1)
    np.testing.assert_array_equal(merged(name, vectors), vectors[0])


@method(trust_region="before", coefficient=1.0)
def largest(task_vectors: Sequence[Vector], *, power: int = 1) -> Iterator[np.ndarray]:
    """Not linear, so it matters whether a mask comes before or after: empty entries become 1."""
    for block in blocks(len(task_vectors[0])):
        yield np.max([vector[block] for vector in task_vectors], axis=0) ** power + np.float32(1)


@pytest.fixture
def with_largest(monkeypatch: pytest.MonkeyPatch) -> Method:
    monkeypatch.setattr(merging, "load", lambda name: largest if name == "largest" else load(name))
    return largest


def test_a_method_may_ask_for_masked_task_vectors(with_largest: Method) -> None:
    vectors, kept = random_tasks(), np.arange(1000) % 3 > 0
    found = merged("largest", vectors, kept, block=64)
    np.testing.assert_array_equal(found, (vectors * kept).max(axis=0) + np.float32(1))
    assert (found[~kept] == 1).all()


def test_settings_reach_the_method_and_unknown_ones_are_refused(with_largest: Method) -> None:
    assert list(largest.parameters) == ["power"]
    vectors = random_tasks()
    (found,) = direction("largest", [*vectors], None, {"power": 2})
    np.testing.assert_array_equal(found, vectors.max(axis=0) ** 2 + np.float32(1))
    with pytest.raises(TatrError, match="largest: takes no setting density"):
        list(direction("largest", [*vectors], None, {"density": 0.2}))


def test_vectors_that_do_not_fit_together_are_refused() -> None:
    vectors = random_tasks()
    with pytest.raises(TatrError, match="no task vectors to merge"):
        list(direction("task_arithmetic", []))
    with pytest.raises(TatrError, match="differ in length"):
        list(direction("task_arithmetic", [vectors[0], vectors[1][:-1]]))
    with pytest.raises(TatrError, match="differ in length"):
        list(direction("task_arithmetic", [*vectors], np.ones(999, bool)))


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TatrError, match=r"method 'tis': unknown; expected one of .*task_arithmetic"):
        methods.load("tis")
