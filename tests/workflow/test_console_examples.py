"""The examples that the help of each subcommand of `tatr` shows, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT, Checkout, clean_environment
from safetensors.numpy import save_file

from tatr.console import COMMANDS

CONSOLE = f'tatr() {{ "{sys.executable}" "{ROOT}/workflow_scripts/tatr/console" "$@"; }}\n'


@pytest.fixture(scope="module")
def folder(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the examples' configurations were run, and their models lie."""
    folder = finished.with_results(tmp_path_factory.mktemp("examples") / "run").folder
    for name in ("mine.yaml", "other.yaml"):
        (folder / name).write_text(finished.config.read_text())
    (folder / "results/mine").symlink_to("tiny")
    for seed, name in enumerate(("base/model", "cars/model", "runs/7/model")):
        (folder / name).parent.mkdir(parents=True)
        weights = np.random.default_rng(seed).normal(size=(4, 5)).astype("f4")
        save_file({"w": weights}, folder / f"{name}.safetensors")
    return folder


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment() | {"COLUMNS": "120"}
    command = ["bash", "-c", CONSOLE + line]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_work(name: str, folder: Path) -> None:
    shown = shell(folder, f"tatr {name} --help").stdout
    text = re.split(r"^examples?:\s", shown, flags=re.MULTILINE)[1].split("\n\n")[0].replace("\\\n", " ")
    examples = re.findall(r"tatr .+", text)
    assert examples and all(example.startswith(f"tatr {name} ") for example in examples)
    for example in examples:
        done = shell(folder, example)
        assert done.returncode == 0, f"{example}\n{done.stdout}\n{done.stderr}"


def test_report_asks_snakemake_for_the_report_from_any_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tatr.console import report

    monkeypatch.chdir(folder)
    for variable in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(variable)
    assert report.main(["mine.yaml", "-c", "1"]) == 0
    assert report.main(["mine.yaml", "--config", "seed=3", "--dry-run", "--quiet"]) == 0, (
        "further options are passed on"
    )
    monkeypatch.setattr(report, "TARGET", "nonsense")
    assert report.main(["mine.yaml", "-n"]) != 0
    with pytest.raises(SystemExit, match=r"error: none\.yaml: no such file; config/README\.md says how"):
        report.main(["none.yaml"])
