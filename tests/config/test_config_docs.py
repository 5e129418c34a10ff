"""What is written from the code: the config's schema and defaults, a page per method, the table of results."""

import subprocess
import sys
from pathlib import Path

import pytest

from tatr.config.pages import page
from tatr.merging import methods

BASE = Path(__file__).parents[2]


def test_documents_are_up_to_date() -> None:
    command = [sys.executable, str(BASE / "workflow_scripts/config_docs.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", methods.names())
def test_every_method_has_a_page_and_a_line_that_states_its_coefficient(name: str) -> None:
    table = (BASE / "docs/merging/methods.md").read_text().splitlines()
    (line,) = (line for line in table if f"`{name}`](methods/{name}.md)" in line)
    assert f"| {methods.load(name).coefficient:g} |" in line
    text = (BASE / f"docs/merging/methods/{name}.md").read_text()
    assert text.startswith(f"# {methods.load(name).title}\n")
    for label in ("```\nv = ", "Cost.", "rust region"):
        assert label in text
    for setting in methods.load(name).parameters:
        assert f"| `{setting}` |" in text


def test_check_command_finds_drift(tmp_path: Path) -> None:
    command = [sys.executable, str(BASE / "workflow_scripts/config_docs.py"), "--folder", str(tmp_path)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert subprocess.run([*command, "--check"], check=False, capture_output=True).returncode == 0
    (tmp_path / "config/default.yaml").write_text("seed: 1\n")
    stale = subprocess.run([*command, "--check"], check=False, capture_output=True, text=True)
    assert stale.returncode == 1
    assert "default.yaml: out of date" in stale.stdout


def test_a_page_says_over_how_many_seeds_its_figures_are(tmp_path: Path) -> None:
    one, three = tmp_path / "one.csv", tmp_path / "three.csv"
    one.write_text("method,cars,average,coefficient,tau,unlabelled\nTSV-M,70,70.04,1,,\nMagMax,1,1,1,,\n")
    lines = ["Pre-trained,70,70,,,,1,", "TSV-M,70,70.04,1,,,3,0.26"]
    three.write_text("\n".join(["method,cars,average,coefficient,tau,unlabelled,seeds,average_sd", *lines, ""]))
    told = page("tsv_m", one)
    assert "(../../data/tiny8.md), one seed\n" in told
    assert "| TSV-M | 70.0 | 70.0 (cars) | 70.0 (cars) | 1 |\n" in told
    assert "MagMax |" not in told
    told = page("tsv_m", three)
    assert "(../../data/tiny8.md), mean ± standard deviation over 3 seeds\n" in told
    assert "| TSV-M | 70.0 ± 0.3 | 70.0 (cars) | 70.0 (cars) | 1 |\n" in told
