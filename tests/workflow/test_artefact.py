"""Artefacts: complete or absent, described by a manifest that depends on nothing but what shaped them."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tatr.attempts import Attempt
from tatr.digests import canonical_digest, file_digest
from tatr.errors import TatrError
from tatr.vectors.store import StoredVector, write_vector
from tatr.workflow.artefact import FILE, Artefact, Manifest, build, inputs_of
from tatr.workflow.verification import problems


def inside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def note(text: str) -> Callable[[Attempt], Manifest]:
    def write(attempt: Attempt) -> Manifest:
        (attempt.folder / "note.txt").write_text(text)
        content = {"note.txt": file_digest(attempt.folder / "note.txt")}
        return Manifest("note", attempt.target.name, {"b": 1, "a": [2]}, {}, "c0de", "cpu", content)

    return write


def test_an_artefact_appears_whole(tmp_path: Path) -> None:
    manifest = build(tmp_path / "x", note("hello"))
    assert inside(tmp_path) == ["x"]
    assert inside(tmp_path / "x") == [FILE, "note.txt"]
    assert Manifest.load(tmp_path / "x" / FILE) == manifest
    assert list(problems(tmp_path / "x" / FILE)) == []


@pytest.mark.parametrize("error", [TatrError("no"), OSError(28, "full"), KeyboardInterrupt(), SystemExit(1)])
def test_a_failed_attempt_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail(attempt: Attempt) -> Manifest:
        (attempt.folder / "half.txt").write_text("half")
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


def test_what_stands_under_the_name_without_a_manifest_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "leftover").write_text("half")
    build(tmp_path / "x", note("hello"))
    assert inside(tmp_path) == ["x"]
    assert inside(tmp_path / "x") == [FILE, "note.txt"]


def meanwhile(other: str, mine: str, folder: Path) -> Callable[[Attempt], Manifest]:
    """Another attempt is done while this one is at work."""

    def write(attempt: Attempt) -> Manifest:
        shutil.copytree(folder.parent / other, folder.parent / "copy")
        (folder.parent / "copy").replace(folder)
        return note(mine)(attempt)

    return write


def test_the_second_of_two_writers_discards_what_is_equal(tmp_path: Path) -> None:
    build(tmp_path / "there" / "x", note("hello"))
    manifest = build(tmp_path / "x", meanwhile("there/x", "hello", tmp_path / "x"))
    assert manifest == Manifest.load(tmp_path / "x" / FILE)
    assert inside(tmp_path) == ["there", "x"]
    assert list(problems(tmp_path / "x" / FILE)) == []


def test_the_second_of_two_writers_says_so_if_it_differs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(tmp_path / "there" / "x", note("hello"))
    manifest = build(tmp_path / "x", meanwhile("there/x", "bye", tmp_path / "x"))
    assert manifest == Manifest.load(tmp_path / "x" / FILE)
    assert "x: another process has made it meanwhile, with other content" in caplog.text
    assert inside(tmp_path) == ["there", "x"]
    assert (tmp_path / "x" / "note.txt").read_text() == "hello"


def test_an_older_artefact_is_replaced_though_it_differs(tmp_path: Path) -> None:
    build(tmp_path / "x", note("old"))
    build(tmp_path / "x", note("new"))
    assert inside(tmp_path) == ["x"]
    assert (tmp_path / "x" / "note.txt").read_text() == "new"


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
    with pytest.raises(TatrError, match=r"x/manifest\.json: not a manifest .*; `tatr verify --repair"):
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
    (tmp_path / "x" / "note.txt").mkdir()
    (problem,) = problems(path)
    assert "note.txt" in problem
    assert "directory" in problem
    (tmp_path / "x" / "note.txt").rmdir()
    (tmp_path / "x" / "note.txt").write_text("hello")
    (tmp_path / "x" / "more.txt").write_text("more")
    assert list(problems(path)) == ["more.txt: surplus (the manifest does not list it)"]
    (tmp_path / "x" / "more.txt").unlink()
    assert list(problems(path)) == []
    for name in (".DS_Store", "._note.txt", "Thumbs.db"):  # as file managers leave
        (tmp_path / "x" / name).write_text("more")
    assert list(problems(path)) == []
    (tmp_path / "x").rename(tmp_path / "y")
    assert list(problems(tmp_path / "y" / FILE)) == ["the manifest is of 'x', and the folder is called 'y'"]


@pytest.mark.parametrize("key", ["kind", "name", "settings", "inputs", "code", "device", "content", "digest", "seal"])
def test_whatever_is_changed_in_a_manifest_is_noticed(tmp_path: Path, key: str) -> None:
    build(tmp_path / "x", note("hello"))
    path = tmp_path / "x" / FILE
    stated = json.loads(path.read_text())
    for changed in (stated | {key: "other"}, {name: value for name, value in stated.items() if name != key}):
        path.write_text(json.dumps(changed))
        with pytest.raises(TatrError, match=r"x/manifest\.json: (was altered|not a manifest)"):
            Artefact.open(path, "note")
        assert len(list(problems(path))) == 1


def test_whoever_opens_content_gets_what_was_written_or_one_error(tmp_path: Path) -> None:
    build(tmp_path / "x", note("hello"))
    artefact = Artefact.open(tmp_path / "x" / FILE, "note")
    assert (artefact / "note.txt").read_text() == "hello"
    (tmp_path / "x" / "note.txt").write_text("hullo")
    with pytest.raises(TatrError, match=r"x/note\.txt: damaged \(digest .*, expected .*\); `tatr verify --repair"):
        _ = artefact / "note.txt"
    (tmp_path / "x" / "note.txt").unlink()
    with pytest.raises(TatrError, match=r"x/note\.txt: missing; `tatr verify --repair"):
        _ = artefact / "note.txt"


def test_what_describes_a_store_is_compared_when_the_store_is_opened(tmp_path: Path) -> None:
    def write(attempt: Attempt) -> Manifest:
        digest = write_vector(attempt.folder / "vector.zarr", 3, "layout", [np.arange(3, dtype=np.float32)])
        return Manifest("note", "x", {}, {}, "c0de", "cpu", {"vector.zarr": digest})

    build(tmp_path / "x", write)
    artefact = Artefact.open(tmp_path / "x" / FILE, "note")
    assert len(StoredVector(artefact / "vector.zarr")) == 3
    description = tmp_path / "x/vector.zarr/zarr.json"
    description.write_text(description.read_text().replace('"layout"', '"loyaut"', 1))
    with pytest.raises(TatrError, match=r"vector\.zarr/zarr\.json: damaged"):
        _ = artefact / "vector.zarr"
    assert any("zarr.json: damaged" in problem for problem in problems(tmp_path / "x" / FILE))


def test_an_input_that_holds_something_else_by_now_is_named(tmp_path: Path) -> None:
    build(tmp_path / "note" / "x", note("hello"))
    given = inputs_of({"notes": [Artefact.open(tmp_path / "note" / "x" / FILE, "note")]})
    build(tmp_path / "more" / "y", lambda attempt: replace(note("more")(attempt), inputs=given))
    assert list(problems(tmp_path / "more" / "y" / FILE)) == []
    build(tmp_path / "note" / "x", note("bye"))
    (problem,) = problems(tmp_path / "more" / "y" / FILE)
    assert "was made from" in problem
    assert "note/x" in problem
