"""The table on a terminal of any width, and as plain text."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from tatr.console import show
from tatr.report.tables import STATEMENTS
from tatr.workflow.artefact import FILE

TASKS = ["scenes", "cars", "aerial", "landuse", "housenumbers", "signs", "digits", "textures"]
ROWS = ["Pre-trained", "Individual", "Task Arithmetic, λ on validation"]
ROWS += [f"Task Arithmetic + TATR, τ {tau} %, λ on validation" for tau in (1, 10)]


@pytest.fixture
def table(make_artefact: Callable) -> Path:
    """A finished methods table: eight tasks, references, three merges."""
    statements = dict.fromkeys(STATEMENTS, float("nan")) | {"coefficient": 0.3, "unlabelled": ""}
    statements |= {"average_low": 70.1, "average_high": 72.2, "normalised": 73.5}
    lines = [
        {"method": name, **dict.fromkeys([*TASKS, "average"], 90.0 + at), **statements} for at, name in enumerate(ROWS)
    ]
    for line in lines[3:]:
        line |= {"difference": 0.5, "difference_low": 0.1, "difference_high": 1.0}
    for line in lines[:2]:
        line |= {"coefficient": float("nan")}

    def write(folder: Path) -> dict[str, str]:
        pd.DataFrame(lines).set_index("method").to_csv(folder / "methods.csv")
        return {"methods.csv": "0"}

    settings = {"tasks": TASKS, "names": {}, "digits": 1}
    return make_artefact("tables", "x", settings, write).folder / FILE


def printed(table: Path, monkeypatch: pytest.MonkeyPatch, **of_console: object) -> list[str]:
    screen = io.StringIO()
    monkeypatch.setattr(
        "rich.console.Console", lambda width=None, **_: Console(file=screen, **{"width": width} | of_console)
    )
    assert show.main([str(table)]) == 0
    return screen.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_a_terminal_shows_lines_of_its_width(table: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = printed(table, monkeypatch, force_terminal=True, no_color=True, width=width)
    plain = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines]
    assert max(map(len, plain)) <= width
    rows = [line for line in plain if line.startswith(("Pre", "Ind", "Ta"))]
    assert len(rows) == len(ROWS), "a row is one line"
    assert len({row.split("  ")[0] for row in rows}) == len(ROWS)
    left_out = [line for line in plain if line.startswith("not shown in this width: ")]
    assert bool(left_out) == (width < 120)


def test_without_a_terminal_it_is_plain_text_of_any_width(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(table, monkeypatch, force_terminal=False)
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "Task Arithmetic + TATR, τ 10 %, λ on validation" in text
    assert "housenumbers" in text
    assert "94.0*" in text
    assert "93.0+" in text
    assert "*: best merge" in text


def test_without_colour_marks_stay(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(table, monkeypatch, force_terminal=True, no_color=True, width=200)
    assert any("\x1b[1m94.0" in line for line in lines)
    assert any("\x1b[4m93.0" in line for line in lines)
