"""AdaRank's merge: of each task's singular components those that are to stay, weighted tensor by tensor."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.merging.methods.ada_rank import block_weights
from tatr.vectors import layout as layouts
from tatr.vectors.layout import Layout

BLOCK = "visual.transformer.resblocks.0"
ATTENTION, MLP = f"{BLOCK}.attn.in_proj_weight", f"{BLOCK}.mlp.c_proj.weight"
SHAPES = {"visual.proj": (6, 5), f"{BLOCK}.ln_1.weight": (6,), ATTENTION: (18, 6), f"{BLOCK}.attn.in_proj_bias": (18,)}
LAYOUT = Layout.of({"visual.scale": ()} | SHAPES | {MLP: (6, 11), f"{BLOCK}.mlp.none": (0, 4)})
TASKS, RANK = 3, 6
VECTORS = np.random.default_rng(0).normal(size=(TASKS, LAYOUT.size)).astype(np.float32)
MASK = np.random.default_rng(1).random(LAYOUT.size) < 0.7
COEFFICIENTS = np.random.default_rng(2).normal(0.5, 1, (TASKS, len(LAYOUT.parameters))).astype(np.float32)
KEPT = [{ATTENTION: [0, 3], MLP: [*range(RANK)]}, {ATTENTION: [5], MLP: []}, {ATTENTION: [], MLP: [1, 2, 4]}]
ALL = [{name: [*range(RANK)] for name in (ATTENTION, MLP)}] * TASKS


def merged(
    mask: np.ndarray | None = None,
    block: int = layouts.BLOCK,
    vectors: np.ndarray = VECTORS,
    coefficients: np.ndarray = COEFFICIENTS,
    kept: list[dict[str, list[int]]] = KEPT,
    **settings: Any,  # noqa: ANN401
) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "BLOCK", block)
        inputs = MergeInputs([*vectors], layout=LAYOUT, coefficients=coefficients, kept=kept)
        return whole_direction("ada_rank", inputs, settings, mask)


def by_tensors(vectors: np.ndarray, base: str, kept: list[dict[str, list[int]]] = KEPT) -> np.ndarray:
    """Component by component, in double precision."""
    mean = vectors.astype(float).mean(axis=0) if base == "mean" else np.zeros(LAYOUT.size)
    total = mean.copy()
    for vector, its_coefficients, its in zip(vectors.astype(float), COEFFICIENTS, kept, strict=True):
        for parameter, coefficient in zip(LAYOUT.parameters, its_coefficients, strict=True):
            part = slice(parameter.offset, parameter.stop)
            own = (vector - mean)[part]
            if parameter.name in its:
                u, sigma, vt = np.linalg.svd(own.reshape(parameter.shape), full_matrices=False)
                own = sum((sigma[i] * np.outer(u[:, i], vt[i]) for i in its[parameter.name]), np.zeros(parameter.shape))
            total[part] += float(coefficient) * own.reshape(-1)
    return total


@pytest.mark.parametrize("base", ["pretrained", "mean"])
@given(block=st.integers(1, 40))
def test_it_adds_up_the_components_that_stay(base: str, block: int) -> None:
    found = merged(block=block, base=base)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_tensors(VECTORS, base), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found, merged(base=base))


@pytest.mark.parametrize("base", ["pretrained", "mean"])
def test_the_mask_applies_to_what_is_merged(base: str) -> None:
    found = merged(MASK, base=base)
    np.testing.assert_allclose(found, by_tensors(VECTORS, base) * MASK, rtol=1e-5, atol=1e-5)
    assert (found[~MASK] == 0).all()
    # Components of masked task vectors are others, and their sum fills masked entries again.
    of_masked = by_tensors(VECTORS * MASK, base)
    assert (np.abs(of_masked[~MASK]) > 1e-3).any()


def test_with_all_components_it_is_adamerging_without_bounds() -> None:
    within = COEFFICIENTS.clip(0, 1)
    expected = whole_direction("ada_merging", MergeInputs([*VECTORS], layout=LAYOUT, coefficients=within))
    np.testing.assert_allclose(merged(coefficients=within, kept=ALL), expected, rtol=1e-5, atol=1e-5)


def test_from_the_mean_with_one_coefficient_and_leading_components_it_is_cart_at_the_weights_of_blocks() -> None:
    scaled = np.full_like(COEFFICIENTS, 1.7)
    leading = [{ATTENTION: [0, 1, 2], MLP: [0, 1, 2]}] * TASKS
    found = LAYOUT.unflatten(merged(coefficients=scaled, kept=leading, base="mean"))
    cart = whole_direction("cart", MergeInputs([*VECTORS], layout=LAYOUT), {"scale": 1.7, "rank_share": 0.5})
    mean = VECTORS.astype(float).mean(axis=0)
    for parameter in LAYOUT.parameters:
        part = slice(parameter.offset, parameter.stop)
        expected = cart[part] if parameter.name in leading[0] else mean[part]
        np.testing.assert_allclose(found[parameter.name].reshape(-1), expected, atol=1e-5)


def test_a_task_that_changed_nothing_does_no_harm() -> None:
    vectors = VECTORS.copy()
    vectors[1] = 0
    kept = [KEPT[0], {ATTENTION: [], MLP: []}, KEPT[2]]
    np.testing.assert_allclose(merged(vectors=vectors, kept=kept), by_tensors(vectors, "pretrained", kept), atol=1e-5)


def test_matrices_are_the_weights_of_attention_and_mlp() -> None:
    assert [parameter.name for parameter in block_weights(LAYOUT)] == [ATTENTION, MLP]


def test_it_merges_with_lambda_1_and_its_defaults_are_the_authors() -> None:
    chosen = load("ada_rank")
    assert chosen.coefficient == 1
    assert chosen.needs == ["layout", "coefficients", "kept"]
    authors = {"base": "pretrained", "initial": None, "rank_share": None, "iterations": 10_000, "batch_size": 16}
    rest = {"learning_rate": 1e-3, "split": "test"}
    assert {name: parameter.default for name, parameter in chosen.parameters.items()} == authors | rest


@pytest.mark.parametrize("missing", ["coefficients", "kept"])
def test_what_is_learnt_must_be_given(missing: str) -> None:
    given = {"coefficients": COEFFICIENTS, "kept": KEPT}
    del given[missing]
    with pytest.raises(TatrError, match=f"ada_rank: needs {missing}, which were not given"):
        whole_direction("ada_rank", MergeInputs([*VECTORS], layout=LAYOUT, **given))


@pytest.mark.parametrize("shape", [(TASKS, 6), (TASKS,), (TASKS, 8)])
def test_coefficients_of_another_encoder_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TatrError, match=r"ada_rank: coefficients of shape .*, expected \[3, 7\] \(tasks, parameter"):
        merged(coefficients=np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("its", "message"),
    [
        ({ATTENTION: [0]}, f"task vector 2: none are given of '{MLP}'; learn them for this encoder"),
        (KEPT[1] | {"other": [0]}, "task vector 2: this encoder has no weight 'other'; learn them for this encoder"),
        (KEPT[1] | {MLP: [0, 6]}, f"task vector 2: '{MLP}' has no component 6, expected 0 to 5"),
        (KEPT[1] | {MLP: [-1]}, f"task vector 2: '{MLP}' has no component -1, expected 0 to 5"),
    ],
)
def test_components_of_another_encoder_are_refused(its: dict[str, list[int]], message: str) -> None:
    with pytest.raises(TatrError) as caught:
        merged(kept=[KEPT[0], its, KEPT[2]])
    assert str(caught.value) == f"ada_rank: components of {message}"


def test_components_that_a_matrix_has_not_are_refused() -> None:
    vectors = VECTORS.copy()
    LAYOUT.unflatten(vectors[0])[MLP][1:] = 0
    with pytest.raises(
        TatrError, match=r"component 5 of '.*c_proj\.weight' is to stay, but a task's matrix .* rank 1;"
    ):
        merged(vectors=vectors)


@pytest.mark.parametrize(
    ("name", "value"), [("rank_share", 0), ("rank_share", 1.1), ("initial", -0.1), ("batch_size", 0)]
)
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(TatrError, match=f"ada_rank: {name} = .* is out of range"):
        merged(**{name: value})
