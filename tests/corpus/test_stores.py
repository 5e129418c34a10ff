"""A corpus of broken stores and artefacts: each is told in one message, and earlier results stay as they are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_input import BadInput, Complaint

from tatr.vectors.store import write_vector
from tatr.workflow.artefact import FILE, Manifest

SIZE = 200
LAYOUT = "some layout"


def _artefact(kind: str, name: str, values: np.ndarray | None = None, layout: str = LAYOUT) -> Path:
    folder = Path("results", kind, name)
    folder.mkdir(parents=True)
    values = np.linspace(-1, 1, SIZE, dtype=np.float32) if values is None else values
    digest = write_vector(folder / "vector.zarr", len(values), layout, iter([values]), values.dtype.type)
    Manifest(kind, name, {"task": name}, {}, "code", "cpu", {"vector.zarr": digest}).save(folder)
    return folder


def _sensitivity(damage: Callable[[Path], object], **stated: object) -> Callable[[Path], list[str | Path]]:
    """The sensitivity of two task vectors, one of which is damaged."""

    def write(_: Path) -> list[str | Path]:
        _artefact("sensitivity", "earlier")
        whole, damaged = (_artefact("task_vector", name) for name in ("cars", "digits"))
        damage(damaged)
        settings = json.dumps({"sensitivity": "zero_shot"} | stated)
        output = Path("results/sensitivity/x", FILE)
        vectors = [whole / FILE, damaged / FILE]
        return ["sensitivity", "--settings", settings, "--task-vectors", *vectors, "--output", output]

    return write


def _again(
    artefact: Path, size: int = SIZE, layout: str = LAYOUT, task: str = "digits", kind: str = "task_vector"
) -> None:
    """The artefact as another run might have made it."""
    shutil.rmtree(artefact)
    values = np.ones(size, np.float32)
    digest = write_vector(artefact / "vector.zarr", size, layout, iter([values]), np.float32)
    Manifest(kind, artefact.name, {"task": task}, {}, "code", "cpu", {"vector.zarr": digest}).save(artefact)


def _edit(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 4])


def _as_of_another_shape(artefact: Path) -> None:
    """Metadata that is well-formed and says another shape."""
    _edit(artefact / "vector.zarr/zarr.json", lambda text: text.replace(b"200", b"100"))


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(artefact: Path) -> None:
        stated = json.loads((artefact / FILE).read_text())
        change(stated)
        (artefact / FILE).write_text(json.dumps(stated))

    return damage


REPAIR = "tatr verify --repair"
CHUNK = "vector.zarr/c/0"
BAD = [
    BadInput(name, _sensitivity(damage), told)
    for name, damage, told in (
        ("a missing chunk", lambda a: (a / CHUNK).unlink(), ("digits/vector.zarr/c/0", "missing", REPAIR)),
        ("an empty chunk", lambda a: (a / CHUNK).write_bytes(b""), ("digits/vector.zarr/c/0", REPAIR)),
        ("a chunk cut short", lambda a: _edit(a / CHUNK, lambda b: b[:-9]), ("digits/vector.zarr", "damaged", REPAIR)),
        ("a flipped bit", lambda a: _edit(a / CHUNK, _flipped), ("digits/vector.zarr", "damaged", REPAIR)),
        ("a longer chunk", lambda a: _edit(a / CHUNK, lambda b: b + b"x"), ("digits/vector.zarr", "damaged", REPAIR)),
        ("no store", lambda a: shutil.rmtree(a / "vector.zarr"), ("digits/vector.zarr", "missing", REPAIR)),
        ("metadata gone", lambda a: (a / "vector.zarr/zarr.json").unlink(), ("zarr.json", "missing", REPAIR)),
        ("metadata of another shape", _as_of_another_shape, ("zarr.json", "damaged", REPAIR)),
        ("metadata that is no JSON", lambda a: (a / "vector.zarr/zarr.json").write_text("{"), ("zarr.json", REPAIR)),
        ("no manifest", lambda a: (a / FILE).unlink(), ("digits/manifest.json", "missing", "run the step")),
        ("a manifest cut short", lambda a: _edit(a / FILE, lambda b: b[:99]), ("digits/manifest.json", REPAIR)),
        ("a manifest that is no object", lambda a: (a / FILE).write_text("[]"), ("not a manifest", REPAIR)),
        ("a manifest without a bottom", lambda a: (a / FILE).write_text("[" * 99_999), ("not a manifest", REPAIR)),
        ("a manifest that is a folder", lambda a: ((a / FILE).unlink(), (a / FILE).mkdir()), ("manifest", REPAIR)),
        ("a manifest without a seal", _manifest(lambda s: s.pop("seal")), ("not a manifest", REPAIR)),
        ("another task in a manifest", _manifest(lambda s: s["settings"].update(task="x")), ("its seal", REPAIR)),
        ("another digest in a manifest", _manifest(lambda s: s.update(digest="0" * 32)), ("its seal", REPAIR)),
        ("surplus keys in a manifest", _manifest(lambda s: s.update(more=1)), ("its seal", REPAIR)),
        ("an artefact of another kind", lambda a: _again(a, kind="gradient"), ("gradient, expected task_vector",)),
        ("a vector of another length", lambda a: _again(a, size=100), ("digits/vector.zarr", "100")),
        (
            "a vector of another layout",
            lambda a: _again(a, layout="other"),
            ("digits/vector.zarr", "another encoder", "check the backbone"),
        ),
    )
] + [
    BadInput(
        "a sensitivity that is not there", _sensitivity(lambda _: None, sensitivity="gradent"), ("gradent", "gradient")
    ),
    BadInput("settings of nothing", _sensitivity(lambda _: None, sensitivity=None), ("sensitivity",)),
    BadInput(
        "gradients that lack", _sensitivity(lambda _: None, sensitivity="gradient"), ("--gradients", "one per task")
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_it_is_told(bad: BadInput, complaint: Complaint) -> None:
    complaint(bad)
