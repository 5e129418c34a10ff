"""RegMean: least squares on every linear map's own inputs, the mean elsewhere."""

import logging
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.matrices.linear_maps import gram_layout
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors import layout
from tatr.vectors.layout import BLOCK, Layout

SHAPES = Layout.of(
    {
        "visual.class_embedding": (4,),
        "visual.positional_embedding": (5, 4),
        "visual.proj": (4, 4),
        "visual.conv1.weight": (4, 3, 2, 1),
        "visual.mlp.c_fc.weight": (7, 4),
        "visual.mlp.c_fc.bias": (7,),
        "visual.attn.in_proj_weight": (12, 4),
    }
)
INPUTS = {
    "visual.proj": 4,
    "visual.conv1.weight": 6,
    "visual.mlp.c_fc.weight": 4,
    "visual.attn.in_proj_weight": 4,
}
Inputs = list[dict[str, np.ndarray]]


def merged(
    vectors: np.ndarray, inputs: Inputs, block: int = BLOCK, mask: np.ndarray | None = None, off_diagonal: float = 0.9
) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        grams = [gram(each) for each in inputs]
        settings = {"off_diagonal": off_diagonal}
        return whole_direction("regmean", MergeInputs([*vectors], layout=SHAPES, grams=grams), settings, mask=mask)


def gram(inputs: dict[str, np.ndarray]) -> np.ndarray:
    places = gram_layout(SHAPES)
    return places.flatten({name: rows.T @ rows for name, rows in inputs.items()})


def random(count: int = 3, rows: int = 20, seed: int = 0) -> tuple[np.ndarray, Inputs]:
    """Task vectors, and per task the inputs of every map, on scales of their own."""
    rng = np.random.default_rng(seed)
    scales = {name: 10 ** rng.uniform(-1, 1, size) for name, size in INPUTS.items()}
    inputs = [{name: rng.normal(size=(rows, INPUTS[name])) * scales[name] for name in INPUTS} for _ in range(count)]
    return rng.normal(size=(count, SHAPES.size)).astype(np.float32), inputs


def as_functions(vector: np.ndarray) -> dict[str, np.ndarray]:
    """Matrices M of x ↦ x·M, by name."""
    tensors = SHAPES.unflatten(vector)
    maps = {name: np.stack([output.ravel() for output in tensors[name]], axis=1) for name in INPUTS}
    return maps | {"visual.proj": tensors["visual.proj"]}


def test_it_minimises_the_distance_to_every_models_outputs() -> None:
    vectors, inputs = random()
    found = as_functions(merged(vectors, inputs, off_diagonal=1.0))
    for name in INPUTS:
        stacked = np.concatenate([each[name] for each in inputs])
        targets = np.concatenate([each[name] @ as_functions(v)[name] for each, v in zip(inputs, vectors, strict=True)])
        expected, *_ = np.linalg.lstsq(stacked, targets)
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("off_diagonal", [0.0, 0.5, 0.9])
def test_off_diagonal_entries_are_shrunk(off_diagonal: float) -> None:
    vectors, inputs = random()
    found = as_functions(merged(vectors, inputs, off_diagonal=off_diagonal))
    for name, size in INPUTS.items():
        weights = [each[name].T @ each[name] for each in inputs]
        weights = [w * np.where(np.eye(size, dtype=bool), 1, off_diagonal) for w in weights]
        right = sum(w @ as_functions(v)[name] for w, v in zip(weights, vectors, strict=True))
        np.testing.assert_allclose(found[name], np.linalg.inv(sum(weights)) @ right, rtol=1e-3, atol=1e-4)
    assert load("regmean").parameters["off_diagonal"].default == 0.9


def test_the_pretrained_model_cancels_out() -> None:
    vectors, inputs = random()
    pretrained = np.random.default_rng(7).normal(size=SHAPES.size).astype(np.float32)
    of_models = merged((vectors + pretrained).astype(np.float32), inputs)
    np.testing.assert_allclose(pretrained + merged(vectors, inputs), of_models, rtol=1e-4, atol=1e-4)


def test_what_is_no_linear_map_is_averaged() -> None:
    vectors, inputs = random()
    found, means = SHAPES.unflatten(merged(vectors, inputs)), SHAPES.unflatten(vectors.mean(axis=0, dtype=np.float64))
    for name in SHAPES.unflatten(vectors[0]):
        equal = np.allclose(found[name], means[name], rtol=1e-5, atol=1e-6)
        assert equal == (name not in INPUTS), name


def test_equal_models_merge_to_themselves_bit_for_bit() -> None:
    vectors, inputs = random()
    np.testing.assert_array_equal(merged(vectors[:1], inputs[:1]), vectors[0])
    np.testing.assert_array_equal(merged(vectors[[1, 1, 1]], inputs), vectors[1])


def test_equal_inputs_give_the_mean() -> None:
    vectors, inputs = random()
    np.testing.assert_allclose(merged(vectors, [inputs[0]] * 3), vectors.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_an_input_that_one_task_alone_has_is_that_tasks() -> None:
    vectors, inputs = random()
    for each in inputs[1:]:
        each["visual.mlp.c_fc.weight"][:, 2] = 0
    found = as_functions(merged(vectors, inputs, off_diagonal=0.0))["visual.mlp.c_fc.weight"]
    np.testing.assert_allclose(found[2], as_functions(vectors[0])["visual.mlp.c_fc.weight"][2], rtol=1e-5)


@pytest.mark.parametrize("off_diagonal", [1.0, 0.9])
def test_dead_inputs_are_reported_and_keep_the_mean(caplog: pytest.LogCaptureFixture, off_diagonal: float) -> None:
    vectors, inputs = random()
    whole = as_functions(merged(vectors, inputs, off_diagonal=off_diagonal))["visual.mlp.c_fc.weight"]
    assert caplog.records == []
    others = [{**each, "visual.mlp.c_fc.weight": each["visual.mlp.c_fc.weight"].copy()} for each in inputs]
    for each in others:
        each["visual.mlp.c_fc.weight"][:, 1] = 0
    with caplog.at_level(logging.WARNING, "tatr"):
        found = as_functions(merged(vectors, others, off_diagonal=off_diagonal))["visual.mlp.c_fc.weight"]
    (record,) = caplog.records
    assert "'visual.mlp.c_fc.weight'" in record.getMessage()
    assert "a ridge of 1e-10 times" in record.getMessage()
    mean = np.mean([as_functions(vector)["visual.mlp.c_fc.weight"][1] for vector in vectors], axis=0)
    np.testing.assert_allclose(found[1], mean, rtol=1e-5)
    assert np.isfinite(found).all()
    assert not np.allclose(found[[0, 2, 3]], whole[[0, 2, 3]])  # they were correlated with the dead one
    assert merged(vectors, [{name: 0 * rows for name, rows in each.items()} for each in inputs]) == pytest.approx(
        vectors.mean(axis=0), abs=1e-6
    )


@pytest.mark.parametrize("rows", [1, 2])
def test_too_few_exemplars_are_reported_and_stay_near_the_models(caplog: pytest.LogCaptureFixture, rows: int) -> None:
    vectors, inputs = random(count=2, rows=rows)
    found = merged(vectors, inputs, off_diagonal=1.0)
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert any("'visual.conv1.weight'" in record.getMessage() for record in caplog.records)
    assert np.abs(SHAPES.unflatten(found)["visual.conv1.weight"]).max() < 10 * np.abs(vectors).max()
    # On the inputs themselves it is still the least squares solution.
    for name in INPUTS:
        stacked = np.concatenate([each[name] for each in inputs])
        targets = np.concatenate([each[name] @ as_functions(v)[name] for each, v in zip(inputs, vectors, strict=True)])
        best = np.square(stacked @ np.linalg.lstsq(stacked, targets)[0] - targets).sum()
        ours = np.square(stacked @ as_functions(found)[name] - targets).sum()
        assert ours <= best + 0.01 * np.square(targets).sum()


@given(st.integers(0, 2**16), st.integers(1, SHAPES.size + 3))
def test_tasks_in_any_order_and_blocks_of_any_size_give_the_same(seed: int, block: int) -> None:
    vectors, inputs = random(seed=seed)
    found = merged(vectors, inputs)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(merged(vectors, inputs, block), found)
    order = [2, 0, 1]
    other = merged(vectors[order], [inputs[i] for i in order])
    np.testing.assert_allclose(other, found, rtol=1e-4, atol=1e-5)


def test_the_mask_comes_after() -> None:
    vectors, inputs = random()
    kept = np.arange(SHAPES.size) % 3 > 0
    np.testing.assert_array_equal(merged(vectors, inputs, mask=kept), merged(vectors, inputs) * kept)


def test_grams_of_another_encoder_are_refused() -> None:
    vectors, inputs = random()
    grams = [gram(inputs[0]), gram(inputs[1]), gram(inputs[2])[:-1]]
    with pytest.raises(TatrError, match=r"Gram matrices: .* entries, but those of the encoder's weights have"):
        whole_direction("regmean", MergeInputs([*vectors], layout=SHAPES, grams=grams))
    with pytest.raises(TatrError, match="regmean: needs grams"):
        whole_direction("regmean", MergeInputs([*vectors], layout=SHAPES))
    negative = [gram(each) for each in inputs[:2]] + [-100 * gram(inputs[0])]
    with pytest.raises(TatrError, match=r"the Gram matrices of '.*' are not positive semidefinite"):
        whole_direction("regmean", MergeInputs([*vectors], layout=SHAPES, grams=negative))


def test_merging_loads_no_torch() -> None:
    code = "import sys; sys.path[:0] = sys.argv[1:]; import tatr.merging.methods.regmean;"
    code += "import tatr.merging.methods.fisher; print(*sys.modules)"
    path = str(next(p for p in sys.path if p.endswith("workflow_scripts")))
    loaded = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "pydantic", "scipy"} & set(loaded.split())


def test_inputs_that_only_rounding_tells_apart_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    vectors, inputs = random()
    rng = np.random.default_rng(1)
    for each in inputs:
        rows = each["visual.proj"] = rng.normal(size=(200, 4))
        rows[:, 3] = rows[:, 2] + 5e-4 * rng.normal(size=200)  # float32 keeps 2.5e-7 of its moment, barely
    merged(vectors, inputs, off_diagonal=1.0)
    assert ["'visual.proj'" in record.getMessage() for record in caplog.records] == [True]
    caplog.clear()
    merged(vectors, inputs)  # shrunk by 0.9 they are far apart
    assert caplog.records == []
