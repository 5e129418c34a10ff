"""Broken things that people may bring, and how a command must answer: one message, and nothing of theirs touched."""

import runpy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tatr import console
from tatr.console.arguments import plan_of
from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.workflow.code_digest import SCRIPTS


@dataclass(frozen=True)
class BadInput:
    """One broken configuration, checkpoint, data set, store or file of weights."""

    name: str
    write: Callable[[Path], Sequence[str | Path]]
    """Writes it into an empty folder (the current one); returns a command line: a step and its options (`images
    --settings … --output results/images/x/manifest.json`), `tatr COMMAND …`, or `plan CONFIG` for what a dry run
    says."""
    told: tuple[str, ...]
    """What the message must name: the culprit, what was expected, the remedy."""


Complaint = Callable[[BadInput], str]
"""Brings a bad input; returns the one message about it."""


def complaint(bad: BadInput, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> str:
    """The one message about it; the command fails, changes no file and leaves nothing."""
    monkeypatch.chdir(folder)
    command = [str(word) for word in bad.write(folder)]
    before = _tree(folder)
    caplog.clear()
    with pytest.raises(SystemExit) as ended:
        _start(command, monkeypatch)
    messages = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    messages += [ended.value.code] if isinstance(ended.value.code, str) else []
    assert ended.value.code not in (None, 0)
    assert len(messages) == 1
    assert "Traceback" not in messages[0]
    for text in bad.told:
        assert text in messages[0]
    assert _tree(folder) == before
    return messages[0]


def _start(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setattr("sys.argv", command)
    if command[0] == "plan":
        try:
            plan_of(Path(command[1]))
        except TatrError as error:
            raise SystemExit(str(error)) from error
    elif command[0] == "tatr":
        raise SystemExit(console.main())
    else:
        runpy.run_path(str(SCRIPTS / f"{command[0]}.py"), run_name="__main__")


def _tree(folder: Path) -> dict[str, str]:
    """Everything below a folder, but for folders of kinds, which outlive the attempts that made them."""
    paths = {path.relative_to(folder): path for path in folder.rglob("*")}
    places = {at: path for at, path in paths.items() if at.parent.name != "results" and at.name != "results"}
    return {str(at): file_digest(path) if path.is_file() else "" for at, path in places.items()}
