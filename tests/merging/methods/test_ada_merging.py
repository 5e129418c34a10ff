"""AdaMerging's merge: Σ λ_kl Δ_kl over tensors, trimmed for ++, with the mask wherever it enters."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors import layout as layouts
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"a": (2, 3), "b": (5,), "scale": (), "c": (1, 4, 4), "d": (3,)})
TASKS = 3
VECTORS = np.random.default_rng(0).normal(size=(TASKS, LAYOUT.size)).astype(np.float32)
MASK = np.random.default_rng(1).random(LAYOUT.size) < 0.7
COEFFICIENTS = np.random.default_rng(2).random((TASKS, len(LAYOUT.parameters))).astype(np.float32)


def merged(
    mask: np.ndarray | None = None,
    block: int = layouts.BLOCK,
    vectors: np.ndarray = VECTORS,
    coefficients: np.ndarray = COEFFICIENTS,
    **settings: float,
) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "BLOCK", block)
        inputs = MergeInputs([*vectors], layout=LAYOUT, coefficients=coefficients)
        return whole_direction("ada_merging", inputs, settings, mask)


def by_tensors(vectors: np.ndarray, coefficients: np.ndarray = COEFFICIENTS) -> np.ndarray:
    """Σ_k λ_kl Δ_kl, tensor by tensor, in double precision."""
    parts = [
        np.tensordot(coefficients[:, column].astype(float), vectors[:, parameter.offset : parameter.stop], 1)
        for column, parameter in enumerate(LAYOUT.parameters)
    ]
    return np.concatenate(parts)


def trimmed(vectors: np.ndarray, density: float) -> np.ndarray:
    """Each row's largest entries, where they have the sign of the sum over rows."""
    kept = np.zeros_like(vectors)
    for row, ours in zip(vectors, kept, strict=True):
        largest = np.argsort(-np.abs(row))[: int(density * len(row))]
        ours[largest] = row[largest]
    return np.where(np.sign(kept) == np.sign(kept.sum(axis=0)), kept, 0)


@given(st.integers(1, 40))
def test_it_weights_each_tensor_of_each_task_vector(block: int) -> None:
    found = merged(block=block)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_tensors(VECTORS), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found, merged())


@given(st.integers(1, 40), st.sampled_from([0.2, 0.5, 1.0]))
def test_with_a_density_it_merges_what_ties_merging_keeps(block: int, density: float) -> None:
    found = merged(block=block, density=density)
    np.testing.assert_allclose(found, by_tensors(trimmed(VECTORS, density)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found, merged(density=density))


@pytest.mark.parametrize("density", [None, 0.3])
def test_masking_the_direction_is_masking_each_task_vector_after_it_is_trimmed(density: float | None) -> None:
    vectors = VECTORS if density is None else trimmed(VECTORS, density)
    found = merged(MASK, density=density)
    np.testing.assert_allclose(found, by_tensors(vectors * MASK), rtol=1e-5, atol=1e-6)
    assert (found[~MASK] == 0).all()
    assert (found[MASK] != 0).any()


def test_trimming_does_not_look_through_the_mask() -> None:
    # With 30 % kept, the largest of what the mask leaves would be others than the largest of all.
    other = trimmed(VECTORS * MASK, 0.3)
    assert (other != trimmed(VECTORS, 0.3) * MASK).any()
    assert not np.allclose(merged(MASK, density=0.3), by_tensors(other))


def test_equal_coefficients_make_task_arithmetic() -> None:
    ones = np.full((TASKS, len(LAYOUT.parameters)), 0.25, np.float32)
    summed = whole_direction("task_arithmetic", MergeInputs([*VECTORS]))
    np.testing.assert_allclose(merged(coefficients=ones), 0.25 * summed, rtol=1e-5, atol=1e-6)


def test_it_merges_with_lambda_1_and_needs_a_layout_and_coefficients() -> None:
    chosen = load("ada_merging")
    assert chosen.coefficient == 1
    assert chosen.needs == ["layout", "coefficients"]
    authors = {"granularity": "layer", "density": None, "initial": 0.3, "iterations": 500, "batch_size": 32}
    rest = {"learning_rate": 1e-3, "split": "test"}
    assert {name: parameter.default for name, parameter in chosen.parameters.items()} == authors | rest
    with pytest.raises(TatrError, match="ada_merging: needs coefficients, which were not given"):
        whole_direction("ada_merging", MergeInputs([*VECTORS], layout=LAYOUT))


@pytest.mark.parametrize("shape", [(TASKS, 4), (TASKS, 6), (TASKS,)])
def test_coefficients_of_another_encoder_are_refused(shape: Sequence[int]) -> None:
    with pytest.raises(TatrError, match=r"coefficients of shape .*, expected \[3, 5\] \(tasks, parameter tensors\)"):
        merged(coefficients=np.ones(shape, np.float32))


@pytest.mark.parametrize(("name", "value"), [("density", 0), ("density", 1.1), ("initial", -0.1), ("batch_size", 0)])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(TatrError, match=f"ada_merging: {name} = .* is out of range"):
        merged(**{name: value})
