"""Weights of tasks, λ per tensor and calibration, as `merge`, `merge_files` and the command take them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from float64_formulas import svc
from safetensors.numpy import load_file, save_file

from tatr import TatrError, merge, merge_files
from tatr.console.merge_files import main

SHAPES = {"blocks.0.ln_1.weight": (4,), "blocks.0.mlp.weight": (6, 5), "blocks.1.mlp.weight": (6, 5), "head.bias": (3,)}
TASKS = ("cars", "digits", "signs")
State = dict[str, np.ndarray]


def some_state(seed: int) -> State:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype("f4") for name, shape in SHAPES.items()}


BASE, MODELS = some_state(0), {task: some_state(seed) for seed, task in enumerate(TASKS, 1)}


def deltas(name: str) -> np.ndarray:
    """Δ_k of a tensor, float64 [K, …]."""
    return np.stack([model[name].astype(np.float64) - BASE[name] for model in MODELS.values()])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, state in {"base": BASE, **MODELS}.items():
        save_file(state, tmp_path / f"{name}.safetensors")
    return tmp_path


def from_files(folder: Path, **arguments: Any) -> State:  # noqa: ANN401
    paths = {task: folder / f"{task}.safetensors" for task in TASKS}
    merge_files(folder / "base.safetensors", paths, folder / "merged", **arguments)
    return load_file(folder / "merged/base.safetensors")


def assert_is(found: State, expected: dict[str, np.ndarray]) -> None:
    for name in SHAPES:
        np.testing.assert_allclose(found[name], BASE[name] + expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_tasks_have_weights(files: Path) -> None:
    arguments: dict[str, Any] = {"coefficient": 0.3, "weights": {"cars": 2, "signs": 0.5}}
    expected = {name: 0.3 * np.tensordot([2, 1, 0.5], deltas(name), 1) for name in SHAPES}
    assert_is(merge(BASE, MODELS, **arguments), expected)
    assert_is(from_files(files, **arguments), expected)
    record = json.loads((files / "merged/merge.json").read_text())
    assert record["weights"] == {"cars": 2, "digits": 1, "signs": 0.5}


def test_tensors_have_coefficients(files: Path) -> None:
    patterns = {"*.ln_*": 0, "blocks.[1-9].*": 0.7}
    expected = {name: 0.3 * deltas(name).sum(axis=0) for name in SHAPES}  # 0.3 is Task Arithmetic's default
    expected["blocks.0.ln_1.weight"] *= 0
    expected["blocks.1.mlp.weight"] *= 0.7 / 0.3
    assert_is(merge(BASE, MODELS, coefficient=patterns), expected)
    assert_is(from_files(files, coefficient=patterns), expected)
    record = json.loads((files / "merged/merge.json").read_text())
    assert record["coefficient"] == {"patterns": [["*.ln_*", 0], ["blocks.[1-9].*", 0.7]], "otherwise": 0.3}


@pytest.mark.parametrize("method", ["task_arithmetic", "tsv_m"])
def test_a_merge_is_scaled_then_calibrated_then_masked(files: Path, method: str) -> None:
    patterns, alpha = {"blocks.1.*": 0.7, "*": 0.3}, 1 / 3 if method == "task_arithmetic" else 1.0
    plain = merge(BASE, MODELS, method=method, coefficient=patterns)
    expected = {name: plain[name].astype(np.float64) - BASE[name] for name in SHAPES}
    for name in ("blocks.0.mlp.weight", "blocks.1.mlp.weight"):
        expected[name] = svc(expected[name], deltas(name), alpha)
    arguments: dict[str, Any] = {"method": method, "coefficient": patterns, "calibration": "svc"}
    assert_is(merge(BASE, MODELS, **arguments), expected)
    masked = merge(BASE, MODELS, tau=0.2, **arguments)
    kept = {name: masked[name] != BASE[name] for name in SHAPES}
    assert sum(int((~its).sum()) for its in kept.values()) == int(0.2 * 67)
    assert_is(masked, {name: expected[name] * kept[name] for name in SHAPES})
    for name, tensor in from_files(files, tau=0.2, **arguments).items():
        np.testing.assert_allclose(tensor, masked[name], atol=1e-6)
    assert json.loads((files / "merged/merge.json").read_text())["calibration"] == {"method": "svc", "alpha": alpha}


def test_the_command_takes_all_three(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [f"{task}={files}/{task}.safetensors" for task in TASKS]
    options = ["--coefficient", "*.ln_*=0", "--coefficient", "0.4", "--weight", "cars=2", "--calibration", "svc"]
    main([f"{files}/base.safetensors", *paths, "--output", f"{files}/merged", *options])
    expected = merge(BASE, MODELS, coefficient={"*.ln_*": 0, "*": 0.4}, weights={"cars": 2}, calibration="svc")
    assert_is(load_file(files / "merged/base.safetensors"), {name: expected[name] - BASE[name] for name in SHAPES})
    said = " ".join(capsys.readouterr().out.split())
    for part in ("λ = 0 (*.ln_*), 0.4 (*)", "weights cars 2, digits 1, signs 1", "calibration SVC, α = 0.333333"):
        assert part in said


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"coefficient": {"*.nl_*": 0}}, r"coefficient: '\*\.nl_\*': no merged tensor is called so"),
    ({"coefficient": {}}, "coefficient: has no pattern"),
    ({"coefficient": "0.3"}, "coefficient: '0.3': expected a number"),
    ({"tau": "0.1"}, r"tau = '0\.1': expected a share of the parameters"),
    ({"tau": float("nan")}, "tau = nan: expected a share of the parameters"),
    ({"coefficient": {"*": "big"}}, r"coefficient: '\*': 'big': expected a number"),
    ({"weights": {"autos": 2}}, "weights: 'autos' is not merged; expected cars, digits, signs"),
    ({"weights": {"cars": 0}}, "weights: cars: 0: expected a number above 0"),
    ({"weights": {"cars": 2}, "method": "tsv_m"}, "weights: tsv_m has no weights of tasks"),
    ({"weights": [2, 1, 1]}, r"weights: \[2, 1, 1\]: expected weights by task, such as {'cars': 2}"),
    ({"calibration": "svd"}, "calibration: 'svd' is unknown; expected svc"),
    ({"calibration": {"method": "svc"}}, "calibration: {'method': 'svc'} is unknown; expected svc"),
    ({"density": 0.2}, r"task_arithmetic: takes no setting density \(that is one of .*ties; its settings: none\)"),
    ({"method": "RegMean++"}, r"method 'RegMean\+\+': unknown; expected one of .*; did you mean regmean_plusplus\?"),
    ({"calibration": "svc", "method": "iso_c"}, "calibration: iso_c makes all singular values of a matrix equal"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_message_and_nothing_is_written(files: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        merge(BASE, MODELS, **arguments)
    with pytest.raises(TatrError, match=message):
        from_files(files, **arguments)
    assert not (files / "merged").exists()


def test_one_task_has_no_trust_region_and_nothing_is_read_to_say_so(files: Path) -> None:
    message = "^a trust region needs at least two tasks, each of which it protects from the others' updates$"
    with pytest.raises(TatrError, match=message):
        merge(BASE, {"cars": MODELS["cars"]}, tau=0.1, sensitivity="random")
    (files / "cars.safetensors").write_bytes(b"")
    with pytest.raises(TatrError, match=message):
        merge_files(files / "base.safetensors", [files / "cars.safetensors"], files / "merged", tau=0.1)


def test_numbers_of_numpy_are_recorded_as_plain_ones(files: Path) -> None:
    from_files(files, coefficient=np.float32(0.5), weights={"cars": np.int64(2)}, tau=np.float32(0.25))
    record = json.loads((files / "merged/merge.json").read_text())
    assert [record[key] for key in ("coefficient", "tau")] == [0.5, 0.25]
    assert record["weights"]["cars"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--coefficient", "big"], "--coefficient: 'big': expected a number, or PATTERN=NUMBER, such as"),
        (["--coefficient", "*.ln_*=x"], r"--coefficient: '\*\.ln_\*=x': expected a number"),
        (["--coefficient", "0.1", "--coefficient", "0.2"], "--coefficient: 0.1 and 0.2: give one λ"),
        (["--weight", "cars"], "--weight: 'cars': expected NAME=WEIGHT, such as cars=2"),
        (["--weight", "2"], "--weight: '2': expected NAME=WEIGHT, such as cars=2"),
        (["--weight", "cars=1", "--weight", "cars=2"], "--weight: 'cars' is given twice"),
        (["--weight", "autos=2"], "weights: 'autos' is not merged"),
    ],
)
def test_mistakes_on_the_command_line(files: Path, options: list[str], message: str) -> None:
    paths = [f"{task}={files}/{task}.safetensors" for task in TASKS]
    with pytest.raises(SystemExit, match=message):
        main([f"{files}/base.safetensors", *paths, "--output", f"{files}/merged", *options])
