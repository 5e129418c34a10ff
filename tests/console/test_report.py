"""`tatr report`: what it says before it starts snakemake, and what snakemake is given."""

import os
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from tatr import console
from tatr.console import report

PLAIN = b"suite: [cars, digits]\nmerges: [{method: ties}]\n"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The environment of every process that is started, none of which runs."""
    found: list[dict[str, str]] = []

    def run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["-m", "snakemake"]
        found.append(env)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    return found


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (PLAIN.decode().encode("utf-16"), "UTF-16"),
        (b"[" * 9999, "50 levels"),
        (b"__use_yte__: true\nname: ?print(1)\n", "__use_yte__: Snakemake would run Python that stands in the file"),
    ],
)
def test_a_file_that_snakemake_would_choke_on_is_one_line(
    content: bytes, told: str, started: list[dict[str, str]], tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(SystemExit, match=rf"^error: {file}.*{told}[^\n]*$"):
        report.main([str(file)])
    assert started == []


@pytest.mark.parametrize("home", ["/dev/null", "/dev/null/me"])
def test_without_a_home_the_cache_is_where_the_run_is(
    home: str, started: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    Path("mine.yaml").write_bytes(PLAIN)
    monkeypatch.setenv("HOME", home)
    assert report.main(["mine.yaml"]) == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    assert report.main(["mine.yaml"]) == 0
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    assert report.main(["mine.yaml"]) == 0
    own = str(tmp_path / ".snakemake/cache")
    assert [env.get("XDG_CACHE_HOME") for env in started] == [own, None, own]
    assert all(env["PATH"] == os.environ["PATH"] for env in started)


def test_what_a_terminal_has_no_letters_for_is_spelt(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TextIOWrapper(BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "argv", ["tatr", "--version"])
    assert console.main() == 0
    print("τ 1 %")
    terminal.flush()
    assert terminal.buffer.getvalue().endswith(b"\ntau 1 %\n")
