import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tatr import TatrError, merge, merge_files
from tatr.merging import sensitivities
from tatr.merging.given_models.file_merge import NEEDS_DATA
from tatr.merging.methods import load, names

StateDict = dict[str, np.ndarray]
TASKS = ("cars", "digits", "signs")


def some_state(seed: int) -> StateDict:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(7, 5)).astype("f4"), "b": rng.normal(size=3).astype("f4"), "steps": np.array(9)}


@pytest.fixture
def pretrained() -> StateDict:
    return some_state(0)


@pytest.fixture
def finetuned() -> dict[str, StateDict]:
    return {task: some_state(seed) for seed, task in enumerate(TASKS, 1)}


def flat(state: StateDict) -> np.ndarray:
    return np.concatenate([np.asarray(state[name], np.float64).ravel() for name in ("w", "b")])


def test_task_arithmetic_is_its_formula(pretrained: StateDict, finetuned: dict[str, StateDict]) -> None:
    expected = flat(pretrained) + 0.3 * sum(flat(state) - flat(pretrained) for state in finetuned.values())
    np.testing.assert_allclose(flat(merge(pretrained, finetuned, coefficient=0.3)), expected, rtol=1e-5)


@pytest.mark.parametrize("with_gradients", [False, True])
def test_trust_region_is_its_formula(
    pretrained: StateDict, finetuned: dict[str, StateDict], with_gradients: bool
) -> None:
    deltas = [flat(state) - flat(pretrained) for state in finetuned.values()]
    gradients = {task: {n: abs(v) for n, v in some_state(10 + k).items()} for k, task in enumerate(TASKS)}
    weights = [flat(gradients[task]) for task in TASKS] if with_gradients else [abs(delta) for delta in deltas]
    omega = sum(weights[j] * abs(deltas[i]) for i in range(3) for j in range(3) if i != j)
    kept = omega < np.sort(omega)[-int(0.25 * len(omega))]
    expected = flat(pretrained) + 0.3 * sum(deltas) * kept
    given = {task: {n: g[n] for n in ("w", "b")} for task, g in gradients.items()} if with_gradients else None
    merged = merge(pretrained, finetuned, coefficient=0.3, tau=0.25, gradients=given)
    np.testing.assert_allclose(flat(merged), expected, rtol=1e-5)
    assert (~kept).sum() == int(0.25 * len(omega))


def test_a_sensitivity_can_be_asked_for(pretrained: StateDict, finetuned: dict[str, StateDict]) -> None:
    gradients = {task: {n: abs(v) for n, v in some_state(10 + k).items()} for k, task in enumerate(TASKS)}
    given = {task: {n: g[n] for n in ("w", "b")} for task, g in gradients.items()}
    chosen = merge(pretrained, finetuned, tau=0.25, gradients=given, sensitivity="ntk")
    deltas = [flat(state) - flat(pretrained) for state in finetuned.values()]
    weights = [flat(gradients[task]) for task in TASKS]
    omega = sum(weights[j] * weights[i] for i in range(3) for j in range(3) if i != j)
    kept = omega < np.sort(omega)[-int(0.25 * len(omega))]
    np.testing.assert_allclose(flat(chosen), flat(pretrained) + 0.3 * sum(deltas) * kept, rtol=1e-5)
    default = merge(pretrained, finetuned, tau=0.25, gradients=given)
    np.testing.assert_array_equal(
        flat(merge(pretrained, finetuned, tau=0.25, gradients=given, sensitivity="gradient")), flat(default)
    )
    with pytest.raises(TatrError, match="'ntk': needs gradients, which were not given"):
        merge(pretrained, finetuned, tau=0.25, sensitivity="ntk")
    with pytest.raises(TatrError, match="sensitivity: 'ntk' without tau"):
        merge(pretrained, finetuned, sensitivity="ntk")


@pytest.mark.parametrize(("name", "sign"), [("positive", 1), ("negative", -1)])
def test_a_sensitivity_that_decides_by_signs(
    pretrained: StateDict, finetuned: dict[str, StateDict], name: str, sign: int
) -> None:
    given = {task: {n: some_state(10 + k)[n] for n in ("w", "b")} for k, task in enumerate(TASKS)}
    deltas = [flat(state) - flat(pretrained) for state in finetuned.values()]
    total = sum(flat(given[TASKS[j]]) * deltas[i] for i in range(3) for j in range(3) if i != j)
    expected = flat(pretrained) + 0.3 * sum(deltas) * (sign * total > 0)
    merged = merge(pretrained, finetuned, sensitivity=name, signed_gradients=given)
    np.testing.assert_allclose(flat(merged), expected, rtol=1e-5)
    with pytest.raises(TatrError, match=rf"tau = 0\.1: sensitivity '{name}' decides by itself"):
        merge(pretrained, finetuned, tau=0.1, sensitivity=name, signed_gradients=given)
    with pytest.raises(TatrError, match=f"gradients: are not read by sensitivity '{name}'"):
        merge(pretrained, finetuned, sensitivity=name, gradients=given)
    with pytest.raises(TatrError, match="signed_gradients: given for cars; expected for cars, digits, signs"):
        merge(pretrained, finetuned, sensitivity=name, signed_gradients={"cars": given["cars"]})


def test_types_and_order_are_those_of_the_pretrained_model(
    pretrained: StateDict, finetuned: dict[str, StateDict]
) -> None:
    as_torch = {name: torch.tensor(value) for name, value in pretrained.items()}
    models = {task: {name: torch.tensor(value) for name, value in state.items()} for task, state in finetuned.items()}
    half = {name: value.bfloat16() if value.is_floating_point() else value for name, value in as_torch.items()}
    merged = merge(half, models, tau=0.1)
    assert [*merged] == [*pretrained]
    assert merged["w"].dtype == torch.bfloat16 and merged["steps"] == 9
    exact = merge(as_torch, models, tau=0.1)
    np.testing.assert_array_equal(exact["w"].numpy(), merge(pretrained, finetuned, tau=0.1)["w"])


def test_mistakes_are_named(pretrained: StateDict, finetuned: dict[str, StateDict]) -> None:
    wrong_shape = {**finetuned, "cars": {**finetuned["cars"], "w": finetuned["cars"]["w"].T}}
    with pytest.raises(TatrError, match=r"'cars'.*'w' has shape \[5, 7\], expected \[7, 5\]"):
        merge(pretrained, wrong_shape)
    with pytest.raises(TatrError, match=r"'b' differs .* missing in 'digits'; keep the base's: ignore=\['b'\]"):
        merge(pretrained, {**finetuned, "digits": {"w": pretrained["w"], "steps": np.array(9)}})
    with pytest.raises(TatrError, match="tau = 1"):
        merge(pretrained, finetuned, tau=1.0)
    with pytest.raises(TatrError, match="expected for cars, digits, signs"):
        merge(pretrained, finetuned, tau=0.1, gradients={"cars": pretrained})
    with pytest.raises(TatrError, match="unknown; expected one of"):
        merge(pretrained, finetuned, method="tsk_arithmetic")
    with pytest.raises(TatrError, match="NaN"):
        merge(pretrained, {**finetuned, "cars": {**finetuned["cars"], "b": np.full(3, np.nan, "f4")}})


def test_a_list_s_models_get_names_and_modules_are_read(pretrained: StateDict, finetuned: dict[str, StateDict]) -> None:
    named = merge(pretrained, {f"model{k}": state for k, state in enumerate(finetuned.values(), 1)}, tau=0.25)
    assert_equal(merge(pretrained, [*finetuned.values()], tau=0.25), named)
    gradients = [{n: abs(some_state(10 + k)[n]) for n in ("w", "b")} for k in range(3)]
    in_order = merge(pretrained, [*finetuned.values()], tau=0.25, gradients=gradients)
    by_task = dict(zip(finetuned, gradients, strict=True))
    assert_equal(in_order, merge(pretrained, finetuned, tau=0.25, gradients=by_task))
    with pytest.raises(TatrError, match="gradients: given for cars; expected for model1, model2, model3"):
        merge(pretrained, [*finetuned.values()], tau=0.25, gradients={"cars": gradients[0]})
    base, *models = (module(seed) for seed in range(3))
    states = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in (base, *models)]
    merged = merge(base, models)
    assert_equal(merged, merge(states[0], states[1:]))
    base.load_state_dict(merged)
    assert base.state_dict()["1.running_mean"].tolist() == pytest.approx([0.9, 0.9])


def module(seed: int) -> torch.nn.Module:
    """With a buffer that is merged, its running mean, and one that is not, its counter."""
    torch.manual_seed(seed)
    norm = torch.nn.BatchNorm1d(2)
    norm.load_state_dict(norm.state_dict() | {"running_mean": torch.full((2,), float(seed))})
    return torch.nn.Sequential(torch.nn.Linear(3, 2), norm)


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert [*one] == [*other]
    for name in one:
        np.testing.assert_array_equal(np.asarray(one[name]), np.asarray(other[name]))


def test_tensors_are_ignored_and_buffers_treated_as_those_of_files(
    pretrained: StateDict, finetuned: dict[str, StateDict], tmp_path: Path
) -> None:
    merged = merge(pretrained, finetuned, ignore=["b*"])
    np.testing.assert_array_equal(merged["b"], pretrained["b"])
    np.testing.assert_array_equal(merged["w"], merge(pretrained, finetuned)["w"])
    with pytest.raises(TatrError, match=r"ignore=\['head.*'\]: no tensor is called so"):
        merge(pretrained, finetuned, ignore=["head.*"])
    counted = {**finetuned, "digits": {**finetuned["digits"], "steps": np.array(10)}}
    with pytest.raises(TatrError, match=r"'steps' differs between the base and 'digits'.*int64.*ignore=\['steps'\]"):
        merge(pretrained, counted)
    assert merge(pretrained, counted, ignore=["steps"])["steps"] == 9
    larger = {**finetuned, "cars": {**finetuned["cars"], "head": np.ones(3, np.float32)}}
    with pytest.raises(TatrError, match=r"'head' is not in the base.*ignore=\['head'\]"):
        merge(pretrained, larger)
    states = {"base": pretrained, **larger}
    for name, state in states.items():
        save_file(dict(state), tmp_path / f"{name}.safetensors")
    paths = {name: tmp_path / f"{name}.safetensors" for name in larger}
    merge_files(tmp_path / "base.safetensors", paths, tmp_path / "out", ignore=["head", "b"])
    in_files = load_file(tmp_path / "out/base.safetensors")
    assert_equal(dict(sorted(in_files.items())), dict(sorted(merge(pretrained, larger, ignore=["head", "b"]).items())))


def test_gradients_are_needed_of_what_is_merged_only(pretrained: StateDict, finetuned: dict[str, StateDict]) -> None:
    gradients = {task: {name: abs(state[name]) for name in ("w", "b")} for task, state in finetuned.items()}
    without = {task: {"w": gradient["w"]} for task, gradient in gradients.items()}
    merged = merge(pretrained, finetuned, tau=0.25, gradients=gradients, ignore=["b"])
    assert_equal(merged, merge(pretrained, finetuned, tau=0.25, gradients=without, ignore=["b"]))
    head = {"head": np.ones(2, "f4")}  # of which the base has none
    merged = merge(pretrained, finetuned, tau=0.25, gradients=gradients)
    models = {task: {**state, **head} for task, state in finetuned.items()}
    with_head = {task: {**gradient, **head} for task, gradient in gradients.items()}
    assert_equal(merged, merge(pretrained, models, tau=0.25, gradients=with_head, ignore=["head"]))
    with pytest.raises(TatrError, match=r"gradients of 'cars': 'b' is missing; give it zeros, .*ignore=\['b'\]"):
        merge(pretrained, finetuned, tau=0.25, gradients=without)


def test_gradients_with_signs_are_refused_where_absolute_ones_are_read(
    pretrained: StateDict, finetuned: dict[str, StateDict]
) -> None:
    gradients = {task: {name: abs(state[name]) for name in ("w", "b")} for task, state in finetuned.items()}
    gradients["digits"]["b"][1] = -0.25
    with pytest.raises(TatrError, match=r"^gradients of 'digits': 'b' holds -0\.25; expected mean abs.* from 0 up"):
        merge(pretrained, finetuned, tau=0.1, gradients=gradients)
    gradients["digits"]["b"][1] = np.nan
    with pytest.raises(TatrError, match=r"^gradients of 'digits': 'b' holds NaN or infinity; measure it again$"):
        merge(pretrained, finetuned, tau=0.1, gradients=gradients)


def test_gradients_that_are_not_read_are_refused(pretrained: StateDict, finetuned: dict[str, StateDict]) -> None:
    gradients = {task: {name: abs(tensor) for name, tensor in state.items()} for task, state in finetuned.items()}
    for options, message in (
        ({"gradients": gradients}, "gradients: are not read without a trust region; give tau"),
        ({"signed_gradients": gradients}, "signed_gradients: are not read without a trust region"),
        (
            {"gradients": gradients, "tau": 0.1, "sensitivity": "random"},
            "gradients: are not read by sensitivity 'random'",
        ),
        ({"signed_gradients": gradients, "tau": 0.1}, "signed_gradients: are not read by sensitivity 'zero_shot'"),
    ):
        with pytest.raises(TatrError, match=message):
            merge(pretrained, finetuned, **options)


def test_one_pattern_may_be_a_text(pretrained: StateDict, finetuned: dict[str, StateDict]) -> None:
    assert_equal(merge(pretrained, finetuned, ignore="b"), merge(pretrained, finetuned, ignore=["b"]))


def test_what_is_no_model_is_said(pretrained: StateDict, finetuned: dict[str, StateDict]) -> None:
    several = re.escape(", expected several models: {name: model} or a list")
    for given, found in (
        (finetuned["cars"], "is a single state dict ('w' is a tensor)"),
        (module(0), "is of type Sequential"),
        ([], "is empty"),
        ({}, "is empty"),
        (None, "is None"),
    ):
        with pytest.raises(TatrError, match=f"finetuned: {re.escape(found)}{several}"):
            merge(pretrained, given)
    with pytest.raises(TatrError, match=r"finetuned 'model1': is of type str, .*models on disk are merged by merge_f"):
        merge(pretrained, ["cars.safetensors"])
    with pytest.raises(TatrError, match="pretrained: is of type int, expected a state dict"):
        merge(3, finetuned)
    with pytest.raises(TatrError, match="finetuned 'cars': 'epoch' is of type int, expected a torch tensor or"):
        merge(pretrained, {"cars": {"epoch": 3, "model": finetuned["cars"]}})
    with pytest.raises(TatrError, match=r"'model' is of type dict, .*; did you mean its entry 'model'"):
        merge(pretrained, {"cars": {"model": finetuned["cars"]}})


def test_help_names_the_methods_with_their_settings_and_the_sensitivities() -> None:
    shown = " ".join((merge.__doc__ or "").split())
    for name in names():
        settings = [f"{s.name}={s.default!r}".replace("'", '"') for s in load(name).parameters.values()]
        needs_images = NEEDS_DATA.keys() & set(load(name).needs)
        assert (name if needs_images else f"{name}({', '.join(settings)})") in shown
    assert all(name in shown for name in sensitivities.names())


def test_the_readme_s_example_runs(pretrained: StateDict, finetuned: dict[str, StateDict]) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    example = re.search(r"```python\n(from tatr import merge.*?)```", readme, re.DOTALL)
    assert example
    floating = {name: pretrained[name] for name in ("w", "b")}
    gradients = {task: {name: abs(state[name]) for name in floating} for task, state in finetuned.items()}
    names = {"pretrained": pretrained, "cars": finetuned["cars"], "digits": finetuned["digits"]}
    names["absolute_gradients"] = {task: gradients[task] for task in ("cars", "digits")}
    exec(example[1], names)
    assert names["merged"]["w"].shape == (7, 5)
    assert not np.array_equal(names["merged"]["w"], pretrained["w"])
