"""The installed package: its public names, what its docstring shows, and that nothing is left out of a wheel."""

import ast
import os
import pydoc
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save_file

import tatr

BASE = Path(__file__).parent.parent
LIBRARY = BASE / "workflow_scripts/tatr"
PROJECT = tomllib.loads((BASE / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_public_names_are_loaded_on_first_use_and_listed() -> None:
    for name in tatr.__all__:
        assert getattr(tatr, name) is not None
    assert set(tatr.__all__) <= set(dir(tatr))
    with pytest.raises(AttributeError, match="no attribute 'mrege'"):
        tatr.mrege  # noqa: B018


def test_type_checkers_see_the_names_that_are_loaded() -> None:
    stub = ast.parse((LIBRARY / "__init__.pyi").read_text(encoding="utf-8"))
    homes = {
        alias.name: (node.module or "").removeprefix("tatr.")
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert homes == tatr._HOME
    (listed,) = [ast.literal_eval(node.value) for node in stub.body if isinstance(node, ast.Assign)]
    assert listed == tatr.__all__


def test_help_begins_with_the_public_names() -> None:
    shown = pydoc.plain(pydoc.render_doc(tatr))
    listed = re.findall(r"^    - `(\w+)", shown.partition("PACKAGE CONTENTS")[0], re.MULTILINE)
    assert sorted([*listed, "__version__"]) == tatr.__all__
    for name in ("merge(pretrained:", "merge_files(base:", "mean_absolute_gradient(loss:"):
        assert f"\n    {name}" in shown


def test_the_version_is_known_in_a_clone_that_is_not_installed() -> None:
    code = (
        "import tatr, importlib.metadata as m\n"
        "def absent(name): raise m.PackageNotFoundError(name)\n"
        "m.version = absent\nprint(tatr.__version__)"
    )
    assert _python(code, {"PYTHONPATH": str(BASE / "workflow_scripts")}, BASE) == f"{PROJECT['version']}\n"


def test_importing_the_package_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, tatr; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    assert _python(code, {"PYTHONPATH": str(BASE / "workflow_scripts")}, BASE) == "[]\n"


def test_what_the_docstring_shows_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    pretrained = {"weight": torch.randn(4, 3), "bias": torch.zeros(4)}
    finetuned = {
        task: {name: tensor + torch.randn(tensor.shape) for name, tensor in pretrained.items()}
        for task in ("cars", "digits")
    }
    for folder, state in {"base": pretrained, **finetuned}.items():
        (tmp_path / folder).mkdir()
        save_file({name: tensor.numpy() for name, tensor in state.items()}, tmp_path / folder / "model.safetensors")

    def loss(parameters: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(parameters["weight"] @ image + parameters["bias"], label)

    exemplars = {task: (torch.randn(5, 3), torch.arange(5) % 4) for task in finetuned}
    names = {"pretrained": pretrained, "finetuned": finetuned, "exemplars": exemplars}
    names["losses"] = dict.fromkeys(finetuned, loss)
    blocks = re.findall(r"(?:^    .*\n|^\n)+", tatr.__doc__ or "", re.MULTILINE)
    exec(textwrap.dedent("".join(blocks)), names)
    merged = names["merged"]
    assert {name: tensor.shape for name, tensor in merged.items()} == {"weight": (4, 3), "bias": (4,)}
    assert (tmp_path / "merged/model.safetensors").is_file()


def test_commands_exist() -> None:
    for target in PROJECT["scripts"].values():
        module, function = target.split(":")
        spec = find_spec(module)
        assert spec is not None, f"{module} is not there"
        assert spec.origin is not None
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        named = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        named |= {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert function in named, f"{module} has no {function}"


def test_a_wheel_is_whole(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):  # a copy: building leaves files in the sources
        shutil.copyfile(BASE / name, source / name)
    shutil.copytree(LIBRARY, source / "workflow_scripts/tatr", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools.build_meta import build_wheel; build_wheel('.')"
    _python(build, {"PYTHONWARNINGS": "ignore"}, source)
    (wheel,) = source.glob("*.whl")
    shutil.unpack_archive(wheel, target, "zip")
    ours = {path.relative_to(LIBRARY) for path in LIBRARY.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {path.relative_to(target / "tatr") for path in (target / "tatr").rglob("*") if path.is_file()} == ours
    (information,) = target.glob("*.dist-info")
    assert (information / "licenses/LICENSE").is_file()
    code = "import tatr; print(tatr.__version__, tatr.__file__)"
    version, file = _python(code, {"PYTHONPATH": str(target)}, tmp_path).split()
    assert version == PROJECT["version"]
    assert Path(file) == target / "tatr/__init__.py"


def _python(code: str, environment: dict[str, str], folder: Path) -> str:
    command = [sys.executable, "-c", code]
    whole = os.environ | environment
    return subprocess.run(command, env=whole, cwd=folder, capture_output=True, text=True, check=True).stdout
