"""A flipped bit in any file of any kind of artefact is found, by whoever opens the artefact and by `verify`."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT, Checkout

from tatr.data.image_store import SPLITS, open_images, read_labels
from tatr.errors import TatrError
from tatr.report.page.rendering import page_digest
from tatr.vectors.store import StoredVector
from tatr.vectors.vector import read
from tatr.workflow.artefact import FILE, Artefact
from tatr.workflow.step import kinds
from tatr.workflow.verification import BESIDE, problems

PAGE = "report.html"
NETWORK = {"download", "pretraining"}
"""Kinds that no run here makes: one needs the network, one an hour. They hold files, as others do."""
FLIPS = 3
"""Per file, spread over it."""


@pytest.fixture(scope="module")
def artefacts(
    finished_methods: Checkout,
    finished_analyses: Checkout,
    finished_real: Checkout,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """The smallest artefact of each kind, copied."""
    found: dict[str, Path] = {}
    for run in (finished_methods, finished_analyses, finished_real):
        for manifest in (folder / FILE for folder in run.artefacts()):
            kind = manifest.parent.parent.name
            if kind not in found or _size(manifest.parent) < _size(found[kind]):
                found[kind] = manifest.parent
    folder = tmp_path_factory.mktemp("flips")
    return {kind: Path(shutil.copytree(path, folder / kind / path.name)) for kind, path in found.items()}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def use(manifest: Path, kind: str) -> None:
    """Open everything, as steps do, and read what is checked while it is read."""
    artefact = Artefact.open(manifest, kind)
    for name in artefact.manifest.content:
        if name == PAGE:  # no step opens it, people do
            if page_digest(artefact.folder / name) != artefact.manifest.content[name]:
                raise TatrError(f"{name}: altered")
            continue
        path = artefact / name
        if path.name == "images.zarr":
            for split in SPLITS:
                open_images(path, split)[:]
                read_labels(path, split)
        elif path.suffix == ".zarr":
            for _ in read(StoredVector(path)):
                pass


def flips(path: Path) -> list[int]:
    """Bits of a file, its first and last byte among them."""
    size = path.stat().st_size
    rng = np.random.default_rng(size)
    return [8 * byte + int(rng.integers(8)) for byte in sorted({0, size - 1, *map(int, rng.integers(0, size, FLIPS))})]


@pytest.mark.parametrize("kind", sorted({*kinds()} - NETWORK))
def test_every_flip_of_every_file_is_found(artefacts: dict[str, Path], kind: str) -> None:
    folder = artefacts[kind]
    use(folder / FILE, kind)
    assert list(problems(folder / FILE)) == []
    unnoticed = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in BESIDE):
        whole = path.read_bytes()
        for bit in flips(path) if whole else []:
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            unnoticed += [f"{path.relative_to(folder)}, bit {bit}: {who}" for who in _blind(folder / FILE, kind)]
        path.write_bytes(whole)
    assert unnoticed == []


def _blind(manifest: Path, kind: str) -> list[str]:
    """Who has not noticed that something is wrong."""
    found = [] if list(problems(manifest)) else ["verify"]
    try:
        use(manifest, kind)
    except TatrError as error:
        return found if "\n" not in str(error) else [*found, "the message has several lines"]
    return [*found, "the reader"]


def test_steps_open_content_in_the_way_that_checks_it() -> None:
    commands = [ROOT / f"workflow_scripts/{kind}.py" for kind in kinds()]
    bypasses = [
        f"{path.name}: {line.strip()}"
        for path in commands
        for line in path.read_text().splitlines()
        if ".folder /" in line.replace("job.folder /", "")
    ]
    assert bypasses == []
