"""The command that merges files, and the page that explains it: what it prints, and what it says of mistakes."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tatr.weights.encoder_file import save_tensors
from tatr.weights.hub_cache import name_of
from tatr.workflow.code_digest import SCRIPTS

Run = Callable[..., tuple[int, str, set[str]]]
PAGE = (SCRIPTS.parent / "docs/merging/state-dicts.md").read_text(encoding="utf-8")


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.safetensors" for name in ("base", "cars", "digits")]
    for seed, path in enumerate(paths):
        save_tensors({"w": np.random.default_rng(seed).normal(size=(4, 5))}, path)
    return paths


def varying(text: str) -> str:
    return re.sub(r"\d+ s,|\d+ MiB|\([\d.]+ GB free\)", "", text)


def test_the_page_s_examples_run_and_print_what_it_says(tmp_path: Path) -> None:
    examples = re.findall(r"```(python|console)\n(.*?)```", PAGE, re.DOTALL)
    assert [kind for kind, _ in examples] == ["python", "console", "console", "python", "python"]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"}
    for kind, text in examples:
        line, _, expected = text.removeprefix("$ tatr ").partition("\n")
        words = ["-c", text] if kind == "python" else [str(SCRIPTS / "tatr/console"), *shlex.split(line)]
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        if kind == "console":
            assert varying(done.stdout).rstrip() == varying(expected).rstrip()


def test_no_torch_is_loaded_and_help_shows_a_method_s_settings(
    run_script: Run, models: list[Path], tmp_path: Path
) -> None:
    code, printed, modules = run_script("merge-files", *models, "--tau", "0.2", "--output", tmp_path / "out")
    assert (code, "torch" in modules, "zarr" in modules) == (0, False, False)
    assert "80.0000 % of N (16 parameters) were merged" in printed
    code, printed, _ = run_script("merge-files", "--method", "dare", "--help")
    assert code == 0
    assert "--rescale" in printed and "divide the entries that stay by 1 − drop" in " ".join(printed.split())
    assert "example:\n  tatr merge-files" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "regmean"], "error: regmean: needs Gram matrices"),
        (["--method", "tis"], "error: method 'tis': unknown; expected one of"),
        (["--method", "ties", "--density", "2"], "error: --density: '2': expected a number above 0 and up to 1"),
        (["--method", "ties", "--scope", "all"], "error: --scope: 'all': expected one of model, tensor"),
        (["--method", "dare", "--rescale", "maybe"], "error: --rescale: 'maybe': expected true or false"),
        (["--density", "0.2"], "of task_arithmetic but of dc_merge, localize_and_stitch, ties; give --method"),
        (["--denisty=0.2"], "unrecognized arguments: --denisty=0.2"),
        (["--tau", "1"], "error: tau = 1"),
        (["--tau", "1%"], "error: argument --tau: '1%': expected a share of the parameters (0.01 for 1 %)"),
        (["cars=other.safetensors"], "error: two models are called 'cars'"),
        (["x=other.safetensors"], "error: other.safetensors: no such file"),
    ],
)
def test_mistakes_are_one_line(
    run_script: Run, models: list[Path], tmp_path: Path, options: list[str], message: str
) -> None:
    code, printed, _ = run_script("merge-files", *models, *options, "--output", tmp_path / "out")
    assert code in (1, 2)
    (line,) = [line for line in printed.splitlines() if "error: " in line]
    assert message in line
    assert "Traceback" not in printed
    assert not (tmp_path / "out").exists()


def test_settings_reach_the_method(run_script: Run, models: list[Path], tmp_path: Path) -> None:
    line = ["--method", "dare", "--drop", "0.5", "--rescale", "false", "--seed", "3", "--output", tmp_path / "out"]
    code, printed, _ = run_script("merge-files", *models, *line)
    assert code == 0
    assert "DARE, λ = 0.3, drop = 0.5, rescale = False, seed = 3" in printed


def test_null_takes_the_default_and_numbers_are_spelt_as_in_a_config(
    run_script: Run, models: list[Path], tmp_path: Path
) -> None:
    line = ["--method", "tsv_m", "--rank-share", "null", "--output", tmp_path / "out"]
    code, printed, _ = run_script("merge-files", *models, *line)
    assert (code, "TSV-M, λ = 1, rank_share = None" in printed) == (0, True)
    line = ["--method", "dare", "--seed", "1e2", "--drop", "5e-1", "--output", tmp_path / "other"]
    code, printed, _ = run_script("merge-files", *models, *line)
    assert (code, "drop = 0.5, rescale = True, seed = 100" in printed) == (0, True)


def test_warnings_and_what_is_not_copied_are_shown(run_script: Run, models: list[Path], tmp_path: Path) -> None:
    base = tmp_path / "models--org--theta" / "snapshots" / "0a1b"
    base.mkdir(parents=True)
    (base.parents[1] / "refs").mkdir()
    models[0].rename(base / "model.safetensors")
    for name in ("README.md", "pytorch_model.bin"):
        (base / name).write_text("x")
    given = [base.parents[1], models[1], base.parents[1]]
    code, printed, _ = run_script("merge-files", *given, "--output", tmp_path / "out")
    assert code == 0
    text = "".join(printed.split())  # long paths are cut where lines end
    assert f"notcopiedREADME.md,pytorch_model.bin(of{base})" in text
    assert f"warning:{base}('theta'):isthebaseitself(Δ=0);leaveitout" in text
    assert (tmp_path / "out/merge.json").is_file()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/cars.safetensors", "cars"),
        ("runs/cars/", "cars"),
        ("runs/../digits", "digits"),
        ("cache/models--org--cars", "cars"),
        ("cache/models--org--cars/snapshots/0a1b", "cars"),
        ("runs/.safetensors", ".safetensors"),
    ],
)
def test_models_are_called_like_what_people_know(path: str, name: str) -> None:
    assert name_of(Path(path)) == name
