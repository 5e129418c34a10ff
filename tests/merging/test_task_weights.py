"""Weights of tasks: what they do in each method that takes them, and what is refused."""

from collections.abc import Sequence

import numpy as np
import pytest
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load, names
from tatr.merging.task_weights import task_weights_of, with_mean_one
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"visual.blocks.0.weight": (6, 5), "visual.blocks.1.weight": (6, 5), "visual.blocks.1.bias": (7,)})
WEIGHTS = [2.0, 0.5, 1.0, 3.0]
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(4, LAYOUT.size)).astype(np.float32)
FISHERS = np.abs(RNG.normal(size=(4, LAYOUT.size))).astype(np.float32)
TAKING = [name for name in names() if load(name).takes_weights]


def merged(name: str, weights: Sequence[float] | None, vectors: np.ndarray = VECTORS, **settings: object) -> np.ndarray:
    return whole_direction(name, MergeInputs([*vectors], LAYOUT, fishers=[*FISHERS], weights=weights), settings)


def test_sums_are_weighted() -> None:
    expected = np.tensordot(WEIGHTS, VECTORS.astype(np.float64), 1)
    np.testing.assert_allclose(merged("task_arithmetic", WEIGHTS), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(merged("dare", WEIGHTS, drop=0), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(merged("breadcrumbs", WEIGHTS, smallest=0, largest=0), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(merged("lines", WEIGHTS, alpha=0.5, beta=0), 0.5 * expected, rtol=1e-5, atol=1e-6)


def test_averages_are_weighted_means_so_that_only_proportions_count() -> None:
    expected = np.average(VECTORS.astype(np.float64), axis=0, weights=WEIGHTS)
    np.testing.assert_allclose(merged("weight_average", WEIGHTS), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(merged("fisher", WEIGHTS, floor=1e9), expected, rtol=1e-5, atol=1e-6)
    for name in ("weight_average", "fisher"):
        tripled = [3 * weight for weight in WEIGHTS]
        np.testing.assert_allclose(merged(name, tripled), merged(name, WEIGHTS), rtol=1e-5, atol=1e-6)


def test_fisher_information_is_multiplied() -> None:
    shares = np.array(WEIGHTS)[:, None] * FISHERS / np.linalg.norm(FISHERS, axis=1, keepdims=True)
    expected = (shares * VECTORS).sum(axis=0) / shares.sum(axis=0)
    np.testing.assert_allclose(merged("fisher", WEIGHTS), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scope", ["model", "tensor"])
@pytest.mark.parametrize("combine", ["sum", "mean"])
def test_ties_trims_first_then_weighs_elects_and_combines(scope: str, combine: str) -> None:
    spans = [slice(p.offset, p.stop) for p in LAYOUT.parameters] if scope == "tensor" else [slice(0, LAYOUT.size)]
    trimmed = VECTORS.astype(np.float64)
    for span in spans:
        for row in trimmed:
            size = span.stop - span.start
            row[span][np.argsort(-np.abs(row[span]))[int(0.5 * size) :]] = 0
    weighted = np.array(WEIGHTS)[:, None] * trimmed
    agrees = (np.sign(weighted) == np.sign(weighted.sum(axis=0))) & (trimmed != 0)
    expected = (weighted * agrees).sum(axis=0)
    if combine == "mean":
        expected /= np.maximum((np.array(WEIGHTS)[:, None] * agrees).sum(axis=0), 1e-9)
    found = merged("ties", WEIGHTS, density=0.5, scope=scope, combine=combine)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["breadcrumbs", "dare"])
def test_weights_do_not_change_what_is_dropped(name: str) -> None:
    for task, weight in enumerate(WEIGHTS):
        alone = np.zeros_like(VECTORS)
        alone[task] = VECTORS[task]
        np.testing.assert_allclose(merged(name, WEIGHTS, alone), weight * merged(name, None, alone), rtol=1e-5)


@pytest.mark.parametrize("name", TAKING)
def test_equal_weights_are_no_weights(name: str) -> None:
    np.testing.assert_array_equal(merged(name, [1.0] * 4), merged(name, None))
    assert not np.allclose(merged(name, WEIGHTS), merged(name, None))


@pytest.mark.parametrize("name", TAKING)
def test_a_method_says_what_weights_do(name: str) -> None:
    assert "Weights: " in str(load(name).formula.__doc__)


def test_methods_without_weights_refuse_them() -> None:
    with pytest.raises(TatrError, match=r"weights: magmax has no weights of tasks; methods that have: .*ties"):
        merged("magmax", WEIGHTS)
    with pytest.raises(TatrError, match="task_arithmetic: 4 task vectors but 3 weights"):
        merged("task_arithmetic", WEIGHTS[:3])


def test_weights_by_name() -> None:
    assert task_weights_of({"b": 2, "a": np.float32(0.5)}, ["a", "b", "c"]) == [0.5, 2, 1]
    assert task_weights_of({"a": 1}, ["a", "b"]) is None
    assert task_weights_of(None, ["a"]) is None
    assert with_mean_one([1.0, 3.0]) == [0.5, 1.5]
    with pytest.raises(TatrError, match="weights: 'd' is not merged; expected a, b"):
        task_weights_of({"d": 2}, ["a", "b"])
    for wrong in (0, -1, float("nan"), float("inf"), "2", True, None):
        with pytest.raises(TatrError, match=r"weights: a: .*: expected a number above 0"):
            task_weights_of({"a": wrong}, ["a", "b"])
