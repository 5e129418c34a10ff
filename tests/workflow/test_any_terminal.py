"""Every command on a terminal of any encoding: what this can't show is spelt, and ends nothing."""

import os
import runpy
import subprocess
import sys
import unicodedata
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from tatr import console
from tatr.merging.methods import names
from tatr.weights.encoder_file import save_tensors
from tatr.workflow.any_terminal import SPELT, spell_what_can_not_be_shown
from tatr.workflow.code_digest import SCRIPTS

SCRIPT_NAMES = sorted(path.stem for path in SCRIPTS.glob("*.py"))
LINES = [
    *([name, "--help"] for name in SCRIPT_NAMES),
    ["tatr", "--help"],
    *(["tatr", command, "--help"] for command in console.COMMANDS),
    *(["tatr", "merge-files", "--method", name, "--help"] for name in names()),
]


def shown(line: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command prints, where the terminal has an encoding that refuses what it lacks."""
    streams = [TextIOWrapper(BytesIO(), encoding=encoding, errors="strict", write_through=True) for _ in "oe"]
    monkeypatch.setattr("sys.stdout", streams[0])
    monkeypatch.setattr("sys.stderr", streams[1])
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit):
        if line[0] == "tatr":
            raise SystemExit(console.main())
        runpy.run_path(str(SCRIPTS / f"{line[0]}.py"), run_name="__main__")
    return "".join(stream.buffer.getvalue().decode(encoding) for stream in streams)


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_every_help_is_shown(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    printed = shown(line, "ascii", monkeypatch)
    assert "usage:" in printed
    assert "\\u" not in printed  # each sign that we use has a spelling
    assert "usage:" in shown(line, "latin-1", monkeypatch)


def test_signs_are_spelt_where_they_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, expected in (
        ("ascii", "theta + lambda*Delta_2 -> grad caf\\xe9 \\udcff"),
        ("latin-1", "theta + lambda·Delta_2 -> grad café \\udcff"),
        ("utf-8", "θ + λ·Δ_2 → ∇café \\udcff"),
    ):
        raw = BytesIO()
        monkeypatch.setattr("sys.stdout", TextIOWrapper(raw, encoding=encoding, write_through=True))
        spell_what_can_not_be_shown()
        print("θ + λ·Δ_2 → ∇café \udcff", end="")
        assert raw.getvalue().decode(encoding) == expected
    assert all(text.isascii() for text in SPELT.values())
    used = {sign for path in SCRIPTS.rglob("*.py") for sign in path.read_text(encoding="utf-8") if not sign.isascii()}
    assert {sign for sign in used if unicodedata.category(sign) != "No"} <= SPELT.keys()


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LANG": "C"}])
def test_a_merge_is_told_and_made(environment: dict[str, str], tmp_path: Path) -> None:
    plain = {name: text for name, text in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    for value, name in enumerate(("base", "größe", "digits")):
        save_tensors({"wé": [1.0, 2.0 * value], "b": [0.5, value]}, tmp_path / f"{name}.safetensors")
    line = ["base.safetensors", "größe.safetensors", "digits.safetensors", "--tau", "0.2", "--output", "out"]
    command = [sys.executable, SCRIPTS / "tatr/console", "merge-files", *line]
    done = subprocess.run(command, cwd=tmp_path, env=plain | environment, capture_output=True)
    printed = (done.stdout + done.stderr).decode("latin-1")
    assert done.returncode == 0, printed
    assert "Task Arithmetic" in printed and "Traceback" not in printed
    assert (tmp_path / "out" / "merge.json").is_file()
