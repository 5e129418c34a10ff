"""Merging: Task Arithmetic, averaging, where a trust region enters, and what holds for every method."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from inspect import Parameter
from typing import Annotated, get_args
from zlib import crc32

import numpy as np
import pytest
from annotated_types import Interval
from drawn_tasks import drawn_tasks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from measured import LAYOUT, grams_of, random_inputs
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging import merge as merging
from tatr.merging import methods, sensitivities
from tatr.merging.mask import mask as mask_of
from tatr.merging.mask import thresholds
from tatr.merging.merge import MergeInputs, direction
from tatr.merging.methods import Method, load, method, names
from tatr.vectors import layout
from tatr.vectors.apply import applied, parts_of
from tatr.vectors.layout import Layout, blocks
from tatr.vectors.vector import Vector

elements = st.floats(-100, 100, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)
task_vectors = arrays(np.float32, st.tuples(st.integers(2, 6), st.integers(1, 30)), elements=elements)
block_sizes = st.integers(1, 40)


random_tasks = partial(drawn_tasks, count=4)


def inputs_of(vectors: np.ndarray) -> MergeInputs:
    """Of each task its vector and Gram matrices, which come from that alone, so that they go with it in any order."""
    if vectors.shape[1] != LAYOUT.size:
        return MergeInputs([*vectors], layout=LAYOUT)
    inputs = [random_inputs(1, seed=crc32(vector.tobytes()))[0] for vector in vectors]
    return MergeInputs([*vectors], layout=LAYOUT, grams=grams_of(inputs))


def merged(name: str, vectors: np.ndarray, mask: np.ndarray | None = None, block: int = layout.BLOCK) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        return whole_direction(name, inputs_of(vectors), mask=mask)


def trust_region(vectors: np.ndarray, tau: float, gradients: np.ndarray | None = None) -> np.ndarray:
    chosen = sensitivities.load("zero_shot" if gradients is None else "gradient")
    omega = chosen.of(task_vectors=vectors, gradients=gradients)
    return mask_of(omega, thresholds(omega, [tau])[0].epsilon)[0 : len(omega)]


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


@pytest.fixture(params=[name for name in names() if not set(load(name).needs) - {"layout", "grams"}])
def generic(request: pytest.FixtureRequest) -> Method:
    """A method that needs nothing but task vectors, a layout and Gram matrices; the others have files of their own."""
    return load(request.param)


def test_a_method_streams_and_leaves_its_inputs_alone(generic: Method) -> None:
    vectors = random_tasks(size=LAYOUT.size)
    before = vectors.copy()
    whole = merged(generic.name, vectors)
    assert whole.shape == (LAYOUT.size,)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    assert whole.any()
    for block in (64, 101, LAYOUT.size):
        np.testing.assert_array_equal(merged(generic.name, vectors, block=block), whole)
    np.testing.assert_array_equal(vectors, before)


def test_the_order_of_tasks_does_not_matter_unless_they_draw(generic: Method) -> None:
    vectors, order = random_tasks(size=LAYOUT.size), [2, 0, 3, 1]
    gradients = np.abs(vectors[::-1])
    one = merged(generic.name, vectors, trust_region(vectors, 0.05, gradients))
    other = merged(generic.name, vectors[order], trust_region(vectors[order], 0.05, gradients[order]))
    if "seed" in generic.parameters:  # each task has random numbers of its own
        assert not np.allclose(one, other)
    else:
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_trust_region_restricts_a_merge_where_it_is_applied(generic: Method) -> None:
    vectors, base = random_tasks(size=LAYOUT.size), random_tasks(size=LAYOUT.size)[0]
    kept = np.random.default_rng(4).random(LAYOUT.size) < 0.7
    v = direction(generic.name, inputs_of(vectors))
    found = np.concatenate([*applied(base, v, 0.7, kept)])
    expected = base + np.float32(0.7) * (merged(generic.name, vectors) * kept)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[~kept], base[~kept])


def test_the_result_is_the_same_for_any_number_of_threads_and_any_blocks(
    generic: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, results = random_tasks(size=LAYOUT.size), []
    for threads, block in (("1", 2**20), ("1", 64), ("3", 64)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(merged(generic.name, vectors, block=block).tobytes())
    assert len(set(results)) == 1


def test_of_zero_task_vectors_the_merge_is_the_pretrained_model(generic: Method) -> None:
    found = merged(generic.name, np.zeros((4, LAYOUT.size), np.float32))
    np.testing.assert_allclose(found, np.zeros(LAYOUT.size), atol=1e-6)


@pytest.mark.parametrize("name", [name for name in names() if not set(load(name).needs) - {"layout"}])
def test_tensors_without_entries_or_dimensions_and_a_task_that_changed_nothing_do_no_harm(name: str) -> None:
    shapes = {"scale": (), "none": (0,), "visual.layers.0.thin": (0, 5), "visual.proj": (6, 0), "one": (1, 1)}
    small = Layout.of(shapes | {"visual.layers.0.weight": (12, 40), "row": (1, 9), "column": (9, 1)})
    vectors = random_tasks(count=3, size=small.size)
    vectors[1] = 0
    found = np.concatenate([*parts_of(direction(name, MergeInputs([*vectors], layout=small)))])
    assert found.shape == (small.size,)
    assert np.isfinite(found).all()
    assert found.any()


@pytest.mark.parametrize("name", names())
def test_a_method_is_documented_and_its_defaults_are_allowed(name: str) -> None:
    found = load(name)
    assert found.name == name
    text = str(found.formula.__doc__)
    assert text.startswith("v = ")
    assert "Cost:" in text
    assert "Trust region:" in text
    assert set(found.needs) <= {field.name for field in fields(MergeInputs)}
    for setting in found.parameters.values():
        assert any(isinstance(words, str) for words in get_args(setting.annotation)[1:]), f"{setting.name}: undescribed"
    given = {setting.name: setting.default for setting in found.parameters.values()}
    found.check({key: value for key, value in given.items() if value is not Parameter.empty})


@pytest.mark.parametrize("name", ["task_arithmetic", "weight_average"])
def test_one_task_alone_merges_to_itself(name: str) -> None:
    vectors = random_tasks(count=1)
    np.testing.assert_array_equal(merged(name, vectors), vectors[0])


@method("Made Up", coefficient=1.0)
def largest(
    task_vectors: Sequence[Vector], *, power: Annotated[int, Interval(ge=1), "of the largest entry"] = 1
) -> Iterator[np.ndarray]:
    """Not linear, and 1 where all task vectors are 0: so it shows where a mask applies."""
    for block in blocks(len(task_vectors[0])):
        yield np.max([vector[block] for vector in task_vectors], axis=0) ** power + np.float32(1)


@method("Made Up", coefficient=1.0)
def weighted(
    task_vectors: Sequence[Vector], layout: Layout, fishers: Sequence[Vector], *, floor: float = 0
) -> Iterator[np.ndarray]:
    """Needs more than task vectors."""
    for p in layout.parameters:
        parts = [slice(p.offset, p.stop)] * len(task_vectors)
        yield sum(v[at] * (f[at] + floor) for v, f, at in zip(task_vectors, fishers, parts, strict=True))


@pytest.fixture
def with_largest(monkeypatch: pytest.MonkeyPatch) -> Method:
    monkeypatch.setattr(merging, "load", lambda name: largest if name == "largest" else load(name))
    return largest


@pytest.fixture
def with_weighted(monkeypatch: pytest.MonkeyPatch) -> Method:
    monkeypatch.setattr(merging, "load", lambda name: weighted)
    return weighted


def test_settings_reach_the_method_and_unknown_ones_are_refused(with_largest: Method) -> None:
    assert list(largest.parameters) == ["power"]
    vectors = random_tasks()
    found = whole_direction("largest", MergeInputs([*vectors]), {"power": 2})
    np.testing.assert_array_equal(found, vectors.max(axis=0) ** 2 + np.float32(1))
    with pytest.raises(TatrError, match="largest: takes no setting density"):
        whole_direction("largest", MergeInputs([*vectors]), {"density": 0.2})
    with pytest.raises(TatrError, match=r"largest: power = 0 is out of range, expected ≥ 1"):
        whole_direction("largest", MergeInputs([*vectors]), {"power": 0})


def test_what_a_method_needs_reaches_it_by_name(with_weighted: Method) -> None:
    assert weighted.needs == ["layout", "fishers"]
    vectors, fishers = random_tasks(size=LAYOUT.size), np.abs(random_tasks(size=LAYOUT.size))
    given = {"fishers": [*fishers], "grams": None, "layout": LAYOUT}
    found = whole_direction("weighted", MergeInputs([*vectors], **given), {"floor": 1})
    np.testing.assert_allclose(found, (vectors * (fishers + 1)).sum(axis=0), rtol=1e-4, atol=1e-5)


def test_what_a_method_needs_and_does_not_get_is_named(with_weighted: Method) -> None:
    vectors = [*random_tasks(size=LAYOUT.size)]
    with pytest.raises(TatrError, match="weighted: needs fishers, which were not given"):
        whole_direction("weighted", MergeInputs(vectors, layout=LAYOUT))
    with pytest.raises(TatrError, match="weighted: needs layout, which was not given"):
        whole_direction("weighted", MergeInputs(vectors, fishers=vectors, layout=None))
    with pytest.raises(TatrError, match="weighted: 4 task vectors but 3 fishers"):
        whole_direction("weighted", MergeInputs(vectors, layout=LAYOUT, fishers=vectors[:3]))


def test_vectors_that_do_not_fit_together_are_refused() -> None:
    vectors = random_tasks()
    with pytest.raises(TatrError, match="no task vectors to merge"):
        whole_direction("task_arithmetic", MergeInputs([]))
    with pytest.raises(TatrError, match="differ in length"):
        whole_direction("task_arithmetic", MergeInputs([vectors[0], vectors[1][:-1]]))
    with pytest.raises(TatrError, match="can't be combined"):
        [*applied(vectors[0], load("task_arithmetic").formula(vectors), 1.0, np.ones(999, bool))]


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(TatrError, match=r"method 'tis': unknown; expected one of .*task_arithmetic"):
        methods.load("tis")


def test_a_layout_of_another_encoder_is_refused(with_weighted: Method) -> None:
    vectors = [*random_tasks(size=LAYOUT.size - 1)]
    with pytest.raises(TatrError, match=r"weighted: task vectors of .* entries but a layout of"):
        whole_direction("weighted", MergeInputs(vectors, layout=LAYOUT, fishers=vectors))
