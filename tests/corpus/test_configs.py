"""A corpus of broken configurations: each is told in one message, and nothing is touched."""

from pathlib import Path

import pytest
from bad_input import BadInput, complaint

BAD = [
    BadInput(
        "a key with a slip of the pen",
        lambda folder: _plan(folder, "suite: [cars, digits]\nmerge: [{method: ties}]\n"),
        ("merge", "merges"),
    ),
]


def _plan(folder: Path, text: str) -> list[str | Path]:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return ["plan", "mine.yaml"]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_it_is_told(
    bad: BadInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    complaint(bad, tmp_path, monkeypatch, caplog)
