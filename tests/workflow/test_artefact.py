"""Artefacts: complete or absent, described by a manifest that depends on nothing but what shaped them."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tatr.digests import canonical_digest, file_digest
from tatr.errors import TatrError
from tatr.workflow.artefact import FILE, PARTIAL, Artefact, Manifest, build, inputs_of
from tatr.workflow.verification import problems


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def note(text: str) -> Callable[[Path], Manifest]:
    def write(folder: Path) -> Manifest:
        (folder / "note.txt").write_text(text)
        content = {"note.txt": file_digest(folder / "note.txt")}
        return Manifest("note", folder.stem, {"b": 1, "a": [2]}, {}, "c0de", "cpu", content)

    return write


def test_an_artefact_appears_whole(tmp_path: Path) -> None:
    manifest = build(tmp_path / "x", note("hello"))
    assert inside(tmp_path) == ["x"]
    assert inside(tmp_path / "x") == [FILE, "note.txt"]
    assert Manifest.load(tmp_path / "x" / FILE) == manifest
    assert list(problems(tmp_path / "x" / FILE)) == []


@pytest.mark.parametrize("error", [TatrError("no"), OSError(28, "full"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failed_attempt_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail(folder: Path) -> Manifest:
        (folder / "half.txt").write_text("half")
        raise error

    with pytest.raises(type(error)):
        build(tmp_path / "x", fail)
    assert inside(tmp_path) == []


def test_a_failed_attempt_leaves_the_previous_artefact_alone(tmp_path: Path) -> None:
    build(tmp_path / "x", note("old"))
    with pytest.raises(ZeroDivisionError):
        build(tmp_path / "x", lambda _: 1 // 0)  # type: ignore[arg-type,return-value]
    assert list(problems(tmp_path / "x" / FILE)) == []
    assert (tmp_path / "x" / "note.txt").read_text() == "old"


def test_what_a_killed_attempt_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"x{PARTIAL}").mkdir()
    (tmp_path / f"x{PARTIAL}" / "leftover").write_text("half")
    build(tmp_path / "x", note("hello"))
    assert inside(tmp_path) == ["x"]
    assert not (tmp_path / "x" / "leftover").exists()


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "1" / "x", tmp_path / "2" / "x"
    build(first, note("hello"))
    build(second, note("hello"))
    assert (first / FILE).read_bytes() == (second / FILE).read_bytes()
    build(second, note("bye"))
    assert Manifest.load(first / FILE).digest != Manifest.load(second / FILE).digest


def test_a_manifest_holds_no_path_of_the_machine(tmp_path: Path) -> None:
    build(tmp_path / "x", note("hello"))
    text = (tmp_path / "x" / FILE).read_text()
    assert str(tmp_path) not in text
    assert os.uname().nodename not in text


def test_the_canonical_digest_ignores_order_alone() -> None:
    assert canonical_digest({"a": 1, "b": [1, 2]}) == canonical_digest({"b": [1, 2], "a": 1})
    values = [{"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": [1]}, {"a": None}, {"b": 1}, {"a": True}, [2, 1], [1, 2]]
    assert len({canonical_digest(value) for value in values}) == len(values)


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "{}", '{"kind": "mask"}', '{"surprise": 1}', "\udcff"])
def test_a_damaged_manifest_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x" / FILE
    path.parent.mkdir()
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(TatrError, match=r"x/manifest\.json: not a manifest .*; delete .*x and run again"):
        Manifest.load(path)
    assert list(problems(path))


def test_a_missing_manifest_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TatrError, match=r"manifest\.json: missing; run the step that makes it"):
        Manifest.load(tmp_path / FILE)
    assert list(problems(tmp_path / FILE))


def test_an_artefact_of_another_kind_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "x", note("hello"))
    assert Artefact.open(tmp_path / "x" / FILE, "mask", "note").manifest.kind == "note"
    with pytest.raises(TatrError, match=r"x/manifest\.json: holds note, expected mask"):
        Artefact.open(tmp_path / "x" / FILE, "mask")
    with pytest.raises(TatrError, match=r"lists no content 'vector\.zarr'"):
        Artefact.open(tmp_path / "x" / FILE, "note") / "vector.zarr"


def test_inputs_are_recorded_by_role_name_and_content(tmp_path: Path) -> None:
    build(tmp_path / "x", note("hello"))
    artefact = Artefact.open(tmp_path / "x" / FILE, "note")
    assert inputs_of({"notes": [artefact], "none": []}) == {"notes": {"x": artefact.manifest.digest}, "none": {}}


def test_verification_names_missing_altered_and_lying(tmp_path: Path) -> None:
    build(tmp_path / "x", note("hello"))
    path = tmp_path / "x" / FILE
    (tmp_path / "x" / "note.txt").write_text("Hello")
    (problem,) = problems(path)
    assert problem.startswith("note.txt: altered")
    (tmp_path / "x" / "note.txt").unlink()
    assert list(problems(path)) == ["note.txt: missing"]
    (tmp_path / "x" / "note.txt").write_text("hello")
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"digest": "0" * 64}))
    (problem,) = problems(path)
    assert "manifest was altered" in problem
