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

BLOCK = "visual.transformer.resblocks"
LAYOUT = Layout.of(
    {f"{BLOCK}.0.mlp.c_fc.weight": (6, 5), f"{BLOCK}.1.mlp.c_fc.weight": (6, 5), f"{BLOCK}.1.mlp.c_fc.bias": (7,)}
)
WEIGHTS = [2.0, 0.5, 1.0, 3.0]
RNG = np.random.default_rng(0)
VECTORS = (RNG.normal(size=(4, LAYOUT.size)) + RNG.normal(size=LAYOUT.size)).astype(np.float32)
"""With a part that they share, so that no angle is wider than a right one."""
FISHERS = np.abs(RNG.normal(size=(4, LAYOUT.size))).astype(np.float32)
INPUTS = RNG.normal(size=(4, 2, 20, 5))
"""Of each task and map: its inputs, a row each."""
GRAMS = [np.concatenate([(x.T @ x).reshape(-1) for x in maps]).astype(np.float32) for maps in INPUTS]
TAKING = [name for name in names() if load(name).takes_weights]


def merged(name: str, weights: Sequence[float] | None, vectors: np.ndarray = VECTORS, **settings: object) -> np.ndarray:
    inputs = MergeInputs([*vectors], LAYOUT, fishers=[*FISHERS], grams=GRAMS, merged_grams=GRAMS, weights=weights)
    return whole_direction(name, inputs, settings)


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


@pytest.mark.parametrize("name", ["regmean", "regmean_plusplus", "lot"])
def test_least_squares_are_weighted(name: str) -> None:
    settings = {} if name == "lot" else {"off_diagonal": 1.0}
    found = LAYOUT.unflatten(merged(name, WEIGHTS, **settings))
    tensors = [LAYOUT.unflatten(vector) for vector in VECTORS.astype(np.float64)]
    for number in range(2):
        weight = f"{BLOCK}.{number}.mlp.c_fc.weight"
        rows = np.concatenate([np.sqrt(w) * x[number] for w, x in zip(WEIGHTS, INPUTS, strict=True)])
        targets = [np.sqrt(w) * x[number] @ t[weight].T for w, x, t in zip(WEIGHTS, INPUTS, tensors, strict=True)]
        expected = np.linalg.lstsq(rows, np.concatenate(targets), rcond=None)[0].T
        np.testing.assert_allclose(found[weight], expected, rtol=1e-4, atol=1e-5)
    bias = f"{BLOCK}.1.mlp.c_fc.bias"
    np.testing.assert_allclose(
        found[bias], np.average([t[bias] for t in tensors], axis=0, weights=WEIGHTS), rtol=1e-5, atol=1e-6
    )


def test_consensus_weighs_what_it_keeps() -> None:
    expected = np.tensordot(WEIGHTS, VECTORS.astype(np.float64), 1) * (merged("consensus", None) != 0)
    np.testing.assert_allclose(merged("consensus", WEIGHTS), expected, rtol=1e-5, atol=1e-6)
    assert 0 < np.count_nonzero(expected) < expected.size


def test_localize_and_stitch_weighs_where_entries_meet() -> None:
    chosen = np.abs(VECTORS) >= np.sort(np.abs(VECTORS), axis=1)[:, [-10]]
    shares = np.array(WEIGHTS)[:, None] * chosen
    expected = (shares * VECTORS).sum(axis=0) / np.maximum(shares.sum(axis=0), 1e-9)
    density = 10.5 / LAYOUT.size
    np.testing.assert_allclose(merged("localize_and_stitch", WEIGHTS, density=density), expected, rtol=1e-5)
    alone = chosen.sum(axis=0) == 1
    assert {1, 2} <= {*chosen.sum(axis=0)}
    np.testing.assert_allclose(expected[alone], (VECTORS * chosen).sum(axis=0)[alone], rtol=1e-6)


def test_della_weighs_elects_and_averages() -> None:
    weighted = np.array(WEIGHTS)[:, None] * VECTORS.astype(np.float64)
    agrees = (weighted >= 0) == (weighted.sum(axis=0) >= 0)
    expected = (weighted * agrees).sum(axis=0) / (np.array(WEIGHTS)[:, None] * agrees).sum(axis=0)
    np.testing.assert_allclose(merged("della", WEIGHTS, drop=0, window=0), expected, rtol=1e-5, atol=1e-6)
    total = merged("della", WEIGHTS, drop=0, window=0, elect=False)
    np.testing.assert_allclose(total, weighted.sum(axis=0), rtol=1e-5, atol=1e-6)


def test_iso_c_is_of_weighted_task_vectors_and_model_stock_shortens_a_weighted_mean() -> None:
    shares = np.array(WEIGHTS) * 4 / sum(WEIGHTS)
    scaled = (shares[:, None] * VECTORS).astype(np.float32)
    np.testing.assert_allclose(merged("iso_c", WEIGHTS), merged("iso_c", None, scaled), rtol=1e-4, atol=1e-6)
    shortening = merged("model_stock", None) / VECTORS.mean(axis=0)
    expected = shortening * np.average(VECTORS, axis=0, weights=WEIGHTS)
    np.testing.assert_allclose(merged("model_stock", WEIGHTS), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), [("breadcrumbs", {}), ("dare", {}), ("della", {"elect": False})])
def test_weights_do_not_change_what_is_dropped(name: str, settings: dict[str, object]) -> None:
    for task, weight in enumerate(WEIGHTS):
        alone = np.zeros_like(VECTORS)
        alone[task] = VECTORS[task]
        expected = weight * merged(name, None, alone, **settings)
        np.testing.assert_allclose(merged(name, WEIGHTS, alone, **settings), expected, rtol=1e-5)
        assert 0 < np.count_nonzero(expected) < expected.size


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
