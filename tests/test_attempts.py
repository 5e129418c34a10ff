"""Attempts at one folder: none sees half of another's, the dead are inherited from, the living are left alone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tatr import attempts
from tatr.attempts import Attempt, Remnant, remnants

SCRIPTS = Path(attempts.__file__).parent.parent

HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tatr.attempts import Attempt
with Attempt(Path(sys.argv[2])) as attempt:
    (attempt.folder / "half").write_text("half")
    attempt.saved.write_text(sys.argv[3])
    print("ready", flush=True)
    time.sleep(600)
"""


@contextmanager
def process(target: Path, state: str = "state") -> Iterator[subprocess.Popen[str]]:
    """Another process's attempt, which goes on until it is killed."""
    line = [sys.executable, "-c", HOLD, str(SCRIPTS), str(target), state]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "ready\n"
        try:
            yield other
        finally:
            other.kill()


def killed(target: Path, state: str = "state") -> None:
    with process(target, state):
        pass


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def elsewhere(path: Path, host: str = "other-host.site") -> Path:
    """The same remnant, as if it were another host's."""
    owner = attempts._owner().split("-")
    target, kind = path.name.split(".")[0], path.name.split(".")[1].split("-")[0]
    return path.rename(path.with_name(f"{target}.{kind}-{host}-{owner[-3]}-{owner[-2]}-{owner[-1]}"))


def test_a_folder_appears_whole_and_leaves_nothing_beside(tmp_path: Path) -> None:
    with Attempt(tmp_path / "a/x") as attempt:
        (attempt.folder / "note").write_text("whole")
        attempt.saved.write_text("state")
        assert not (tmp_path / "a/x").exists()
        assert attempt.publish()
    assert names(tmp_path / "a") == ["x"]
    assert names(tmp_path / "a/x") == ["note"]


def test_a_failed_attempt_keeps_its_state_alone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Attempt(tmp_path / "x") as attempt:
        attempt.saved.write_text("state")
        _ = 1 // 0
    assert [path.suffixes[-1].split("-")[0] for path in tmp_path.iterdir()] == [".saved"]
    with Attempt(tmp_path / "x") as attempt:
        assert attempt.saved.read_text() == "state"


def test_what_the_dead_saved_is_taken_over_and_the_rest_removed(tmp_path: Path) -> None:
    killed(tmp_path / "x")
    (remnant,) = tmp_path.glob("x.saved-*")
    (tmp_path / f"{remnant.name}.partial").mkdir()
    assert len(names(tmp_path)) == 3
    with Attempt(tmp_path / "x") as attempt:
        assert attempt.saved.read_text() == "state"
        assert names(tmp_path) == sorted([attempt.folder.name, attempt.saved.name])
        assert list(attempt.folder.iterdir()) == []


def test_of_several_dead_the_last_state_counts(tmp_path: Path) -> None:
    for start, state in enumerate(["first", "last", "second"]):
        path = tmp_path / f"x.saved-node7-1-2-{start}"
        path.write_text(state)
        os.utime(path, (0, 9 if state == "last" else start))
    with Attempt(tmp_path / "x") as attempt:
        assert attempt.saved.read_text() == "last"
    assert names(tmp_path) == []


def test_the_living_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with process(tmp_path / "x") as other:
        theirs = names(tmp_path)
        with Attempt(tmp_path / "x") as attempt:
            assert not attempt.saved.exists()
            (attempt.folder / "note").write_text("mine")
            assert attempt.publish()
        assert f"process {other.pid} on " in caplog.text
        assert "is making it, too" in caplog.text
        assert names(tmp_path) == sorted(["x", *theirs])
        assert (tmp_path / theirs[0] / "half").read_text() == "half"


def test_a_name_is_not_taken_from_another(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x/old").write_text("old")
    with Attempt(tmp_path / "x") as attempt:
        (attempt.folder / "new").write_text("new")
        assert not attempt.publish()
        assert names(tmp_path / "x") == ["old"]
        aside = attempt.set_aside()
        assert names(aside) == ["old"]
        assert attempt.publish()
    assert names(tmp_path / "x") == ["new"]


def test_other_folders_and_their_attempts_are_not_touched(tmp_path: Path) -> None:
    killed(tmp_path / "x.y")
    killed(tmp_path / "xy")
    (tmp_path / "x.partial-notes").mkdir()
    (tmp_path / "x.saved-by-hand.txt").write_text("mine")
    before = names(tmp_path)
    with Attempt(tmp_path / "x"):
        pass
    assert names(tmp_path) == before


class TestOtherHosts:
    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(attempts, "SILENCE", 0.5)
        monkeypatch.setattr(attempts, "BEAT", 0.05)

    def test_without_a_sign_of_life_they_are_dead(self, tmp_path: Path) -> None:
        killed(tmp_path / "x")
        for path in list(tmp_path.iterdir()):
            elsewhere(path)
        with Attempt(tmp_path / "x") as attempt:
            assert attempt.saved.read_text() == "state"
            assert len(names(tmp_path)) == 2

    def test_a_state_without_an_attempt_is_a_dead_ones(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(attempts, "SILENCE", 600)
        (tmp_path / "x.saved-node7-1-2-3").write_text("state")
        with Attempt(tmp_path / "x") as attempt:
            assert attempt.saved.read_text() == "state"

    def test_with_signs_of_life_they_are_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with Attempt(tmp_path / "x") as ours:
            (ours.folder / "half").write_text("half")
            # As another host sees it: the same name does not begin with its own.
            monkeypatch.setattr(attempts, "_space", lambda: "other-host-1")
            (remnant,) = remnants(tmp_path / "x")
            assert remnant.is_alive()
            with Attempt(tmp_path / "x") as theirs:
                assert theirs.folder != ours.folder
            assert (ours.folder / "half").exists()


def test_names_tell_what_and_whose(tmp_path: Path) -> None:
    remnant = Remnant.of(tmp_path / "tau-0.01.x-3f.saved-node-07.site.org-4026531836-812-99.partial")
    assert remnant and remnant.target == tmp_path / "tau-0.01.x-3f"
    assert remnant.process == "process 812 on node-07.site.org"
    assert [Remnant.of(tmp_path / name) for name in ("x", "x.partial", "x.saved", "x.partial-1-2")] == [None] * 4
