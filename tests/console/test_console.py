"""The command `tatr`: its help answers at once, and its subcommands do what the scripts of the same names do."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tatr.console import COMMANDS
from tatr.weights.encoder_file import load_tensors, save_tensors
from tatr.workflow.code_digest import SCRIPTS

CODE = """
import sys
from tatr.console import main
try:
    status = main()
except SystemExit as stopped:
    status = stopped.code
heavy = {"torch", "numpy", "pandas", "pydantic", "rich", "zarr"} & set(sys.modules)
print("loaded:", *sorted(heavy), file=sys.stderr)
sys.exit(status)
"""


def tatr(*words: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    command = [sys.executable, "-c", CODE, *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_help_lists_the_commands_and_loads_nothing_heavy() -> None:
    done = tatr("--help")
    assert (done.returncode, done.stderr.strip()) == (0, "loaded:")
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout
    assert "Merge fine-tuned models that lie in safetensors files" in done.stdout
    nothing = tatr()
    assert (nothing.returncode, nothing.stdout) == (2, done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_own_help(name: str) -> None:
    done = tatr(name, "--help")
    assert (done.returncode, "torch" in done.stderr) == (0, False)
    assert done.stdout.startswith(f"usage: tatr {name} ")
    assert re.search(r"^examples?:", done.stdout, re.MULTILINE)


def test_an_unknown_command_is_refused_with_the_known_ones() -> None:
    done = tatr("merge")
    assert done.returncode == 2
    assert all(name in done.stderr for name in COMMANDS)


def test_files_are_merged(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in ("base", "cars", "digits")]
    states = [{"w": np.random.default_rng(seed).normal(size=(4, 5)).astype(np.float32)} for seed in range(3)]
    for path, state in zip(paths, states, strict=True):
        save_tensors(state, path)
    done = tatr("merge-files", *paths, "--coefficient", "0.5", "--output", tmp_path / "out")
    assert (done.returncode, "torch" in done.stderr) == (0, False), done.stderr
    base, *tuned = [state["w"] for state in states]
    merged = load_tensors(tmp_path / "out" / "base.safetensors")["w"]
    np.testing.assert_allclose(merged, base + 0.5 * sum(model - base for model in tuned), rtol=1e-5, atol=1e-6)


def test_a_command_s_status_is_that_of_the_process(tmp_path: Path) -> None:
    done = tatr("verify", tmp_path)
    assert (done.returncode, "holds no artefacts" in done.stdout) == (1, True)
    (tmp_path / "manifest.json").write_text("{}")
    done = tatr("verify", tmp_path / "manifest.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: {tmp_path}/manifest.json: is a file; give the folder that holds it: {tmp_path}\n" in done.stderr
