"""Edits that a person, an editor or git makes to sources and results."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def change_code(module: Path) -> None:
    """Change what a module does (harmlessly)."""
    module.write_text(module.read_text(encoding="utf-8") + "\n\nCHANGED = True\n", encoding="utf-8")


def edit_comments(project: Path) -> None:
    """Edit every docstring of every module, and add comments to modules and rules."""
    for path in project.rglob("*.py"):
        path.write_text("# A comment.\n" + _edit_docstrings(path.read_text()) + "\n\n# Another comment.\n")
    for path in (project / "Snakefile", *project.glob("rules/*.smk")):
        path.write_text("# A comment.\n" + path.read_text() + "\n# Another comment.\n")


def _edit_docstrings(text: str) -> str:
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            line, start = lines[node.lineno - 1], node.col_offset
            assert line[start : start + 3] == '"""', line
            lines[node.lineno - 1] = f"{line[: start + 3]}Edited. {line[start + 3 :]}"
    return "".join(lines)


def reformat(folder: Path) -> None:
    """Format all modules in another style."""
    style = ["--isolated", "--line-length", "60", "--config", "format.quote-style='single'"]
    done = subprocess.run([sys.executable, "-m", "ruff", "format", *style, folder], capture_output=True, text=True)
    assert done.returncode == 0 and " reformatted" in done.stdout, done.stdout + done.stderr


def edit_rules(folder: Path) -> None:
    """Give every rule other resources, more threads and a comment."""
    for path in folder.glob("*.smk"):
        text = path.read_text().replace("threads: 1", "threads: 2  # more")
        path.write_text(re.sub(r"\bmem_mb=\d+", "disk_mb=100, mem_mb=1500", text))


def new_method(folder: Path) -> None:
    """Write a module for another merging method."""
    text = (folder / "weight_average.py").read_text()
    (folder / "half_average.py").write_text(text.replace("weight_average", "half_average"))


def replace_backbone(folder: Path) -> None:
    """Describe another checkpoint (a dry run does not look into it)."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["content"]["model.safetensors"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))


def touch(paths: Iterable[Path]) -> None:
    """Give files and folders a time after all others'."""
    later = time.time() + 5
    for path in paths:
        os.utime(path, (later, later))


def delete(*folders: Path) -> None:
    """Delete folders that are there."""
    assert folders
    for folder in folders:
        shutil.rmtree(folder)


def reversed_keys(value: Any) -> Any:  # noqa: ANN401  (any YAML value)
    """The same value, its mappings written the other way round."""
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value
