"""What `pip install .` alone brings: enough to merge files and state dicts, with neither torch nor Snakemake."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tatr.console import COMMANDS
from tatr.merging.given_models.file_merge import NEEDS_DATA
from tatr.merging.methods import load, names
from tatr.workflow.code_digest import SCRIPTS

PROJECT = tomllib.loads((SCRIPTS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GUARD = """
import sys
sys.path.insert(0, {scripts!r})

class Finder:
    def __init__(self, real):
        self.real = real

    def find_spec(self, name, path=None, target=None):
        there = {{*sys.stdlib_module_names, "tatr", *{allowed!r}}}
        known = name.partition(".")[0] in there or name.startswith("_sysconfigdata")
        return self.real.find_spec(name, path, target) if known else None

sys.meta_path[:] = map(Finder, sys.meta_path)
"""
"""What a Python is told that shall find the light packages only, whatever else is installed."""


@cache
def light_modules() -> set[str]:
    """Modules of the packages that the project depends on without an extra, and that these depend on."""
    packages, waiting = set[str](), [*PROJECT["dependencies"]]
    while waiting:
        requirement = waiting.pop()
        name = re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower().replace("_", "-")
        if name not in packages and "extra ==" not in requirement:
            packages.add(name)
            waiting += requires(name) or []
    return {
        module
        for module, homes in packages_distributions().items()
        if packages & {home.lower().replace("_", "-") for home in homes}
    }


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that has no other packages."""
    guard = GUARD.format(scripts=str(SCRIPTS), allowed=sorted(light_modules()))
    command = [sys.executable, "-c", guard + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def tatr(*arguments: object) -> subprocess.CompletedProcess[str]:
    return python("from tatr.console import main\nsys.exit(main())", *arguments)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / f"{name}.safetensors" for name in ("base", "cars", "digits")]
    for seed, path in enumerate(paths):
        rng = np.random.default_rng(seed)
        save_file({"w": rng.normal(size=(20, 30)).astype("f4"), "layers.0.b": rng.normal(size=4).astype("f4")}, path)
    return paths


def test_the_guard_refuses_what_an_extra_brings() -> None:
    assert {"numpy", "pydantic", "pydantic_core", "xxhash"} <= light_modules()
    for module in ("torch", "snakemake", "open_clip", "zarr", "matplotlib", "pandas", "rich", "scipy", "yaml"):
        assert "ModuleNotFoundError" in python(f"import {module}").stderr


def test_files_are_merged_by_every_method_that_needs_no_data(models: list[Path], tmp_path: Path) -> None:
    free = [name for name in names() if not NEEDS_DATA.keys() & set(load(name).needs)]
    code = (
        "from tatr import merge_files\nbase, *models, output = sys.argv[1:]\n"
        f"for name in {free!r}:\n"
        "    merge_files(base, models, f'{output}/{name}', method=name, tau=0.2)"
    )
    done = python(code, *models, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == free


def test_the_command_merges_files_and_helps(models: list[Path], tmp_path: Path) -> None:
    done = tatr("merge-files", *models, "--method", "ties", "--density", "0.5", "--output", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert load_file(tmp_path / "out/base.safetensors")["w"].shape == (20, 30)
    code = """
from tatr.console import COMMANDS, main
for name in ("", *COMMANDS):
    sys.argv = ["tatr", *([name] if name else []), "--help"]
    try:
        main()
    except SystemExit as stopped:
        assert stopped.code == 0, name
sys.argv = ["tatr", "--version"]
main()
"""
    helped = python(code)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert all(f"usage: tatr {name}" in helped.stdout for name in COMMANDS)
    assert helped.stdout.splitlines()[-1] == PROJECT["version"]


def test_state_dicts_are_merged_and_help_is_shown() -> None:
    code = (
        "import numpy as np, pydoc, tatr\n"
        "states = [{'w': np.full(4, k, np.float32)} for k in range(3)]\n"
        "print(tatr.merge(states[0], states[1:], method='weight_average')['w'])\n"
        "print(pydoc.plain(pydoc.render_doc(tatr)))"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("[1.5 1.5 1.5 1.5]\n")
    assert "merge(pretrained:" in done.stdout


def test_what_needs_more_says_so_in_a_line(tmp_path: Path) -> None:
    done = python("from tatr import mean_absolute_gradient")
    assert done.stderr.splitlines()[-1] == (
        "ImportError: tatr.mean_absolute_gradient needs torch; install it (pip install torch)"
    )
    done = tatr("compare", tmp_path / "mine.yaml", tmp_path / "other.yaml")
    assert (done.returncode, done.stderr) == (
        1,
        "error: tatr compare needs yaml; install the pipeline's packages: tatr[pipeline]\n",
    )
