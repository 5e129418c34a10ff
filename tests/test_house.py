"""The house's own rules: one meaning per name, short functions, floors that the folders show, papers that agree."""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import yaml

from tatr.workflow.code_digest import SCRIPTS

BASE = Path(__file__).parent.parent
LIBRARY = SCRIPTS / "tatr"
PROJECT = tomllib.loads((BASE / "pyproject.toml").read_text(encoding="utf-8"))
CONTRIBUTING = (BASE / "CONTRIBUTING.md").read_text(encoding="utf-8")
MODULES = sorted(SCRIPTS.rglob("*.py"))
NOT_FLOORS = {"benchmarks", "corpus", "paper", "parity", "slurm"}
"""Folders of tests of other things than one floor: benchmarks, bad input, configurations, other code, a cluster."""


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """All nodes of a kind in library and commands, with the module that each is in."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield str(path.relative_to(SCRIPTS)), node


def layers() -> list[str]:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["containers"] == ["tatr"])
    return [name.strip() for layer in contract["layers"] for name in layer.split("|")]


def test_a_class_name_has_one_meaning() -> None:
    homes = defaultdict(list)
    for module, node in nodes(ast.ClassDef):
        homes[node.name].append(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


def test_functions_have_60_lines_at_most() -> None:
    lengths = {
        f"{module}: {node.name}": node.end_lineno - node.lineno + 1
        for module, node in nodes(ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_text_is_read_and_written_in_an_encoding_that_is_named() -> None:
    # ruff's PLW1514 sees this where it knows that something is a path, and `open` is called.
    silent = [
        f"{module}:{node.lineno}"
        for module, node in nodes(ast.Call)
        if isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read_text", "write_text")
        and "encoding" not in {keyword.arg for keyword in node.keywords}
    ]
    assert silent == []


def test_every_package_says_what_belongs_in_it() -> None:
    packages = {path.parent for path in LIBRARY.rglob("*.py")}
    silent = [
        str(package.relative_to(SCRIPTS))
        for package in packages
        if not (package / "__init__.py").is_file()
        or ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) is None
    ]
    assert silent == []


def test_the_floors_are_the_folders_and_contributing_lists_them() -> None:
    folders = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    modules = {path.stem for path in LIBRARY.glob("*.py")} - {"__init__"}
    assert set(layers()) == folders | modules
    table = CONTRIBUTING.split("## The floors")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == layers()


def test_tests_have_the_folders_of_the_library() -> None:
    folders = {path.parent.relative_to(BASE / "tests") for path in (BASE / "tests").rglob("test_*.py")} - {Path()}
    mirrored = {folder for folder in folders if folder.parts[0] not in NOT_FLOORS}
    homeless = [
        str(folder)
        for folder in mirrored
        if not (LIBRARY / folder).is_dir() and not (LIBRARY / folder).with_suffix(".py").is_file()
    ]
    assert homeless == []
    floors = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert floors <= {folder.parts[0] for folder in mirrored}


def test_modules_on_the_path_of_tests_have_names_of_their_own() -> None:
    """Tests of all folders run in one process: of two modules that are called alike, one would be found for both."""
    folders = [*PROJECT["tool"]["pytest"]["ini_options"]["pythonpath"], "benchmarks"]
    homes = defaultdict(list)
    for path in (path for folder in folders for path in (BASE / folder).glob("*.py")):
        if not path.stem.startswith("test_") and path.stem != "conftest":
            homes[path.stem].append(str(path.relative_to(BASE)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_the_papers_state_the_same_version_and_licence() -> None:
    project = PROJECT["project"]
    citation = yaml.safe_load((BASE / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "MIT"
    released = re.search(r"^## (\S+) - (\S+)$", (BASE / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released is not None
    assert released.groups() == (project["version"], citation["date-released"])
    (author,) = project["authors"]
    assert f"Copyright (c) 2026 {author['name']}\n" in (BASE / "LICENSE").read_text(encoding="utf-8")


def test_ci_runs_what_a_contributor_runs() -> None:
    jobs = yaml.safe_load((BASE / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert any(command.endswith(" .ci/run") for command in commands)
    targets = set(re.findall(r"^([a-z-]+):", (BASE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    makes = [command for command in commands if command.startswith("make ")]
    assert {command.removeprefix("make ") for command in makes} <= targets


def test_files_that_contributing_names_are_there() -> None:
    named = re.findall(r"`((?:workflow_scripts|rules|tests|config|docs|envs)/[\w/.-]*)`", CONTRIBUTING)
    links = re.findall(r"\]\((?!http)([^)#]+)\)", CONTRIBUTING)
    plain = [path for path in [*named, *links] if re.search("NAME|KIND", path) is None]
    assert plain
    assert [path for path in plain if not (BASE / path).exists()] == []
