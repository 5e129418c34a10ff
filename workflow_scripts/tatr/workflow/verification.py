"""Whether an artefact still holds what its manifest says, and stands on what it was made from."""

from collections.abc import Iterator
from pathlib import Path

from tatr.attempts import Remnant
from tatr.data.class_folders import is_litter
from tatr.data.image_store import digest_images
from tatr.digests import canonical_digest, file_digest
from tatr.errors import TatrError
from tatr.report.page.rendering import page_digest
from tatr.vectors.store import digest_vector
from tatr.workflow.artefact import FILE, Manifest, check_file
from tatr.workflow.renewal import STAMP
from tatr.workflow.step import kinds

BESIDE = {"costs.csv", "costs.md", "import.json"}
"""What stands beside the content and is no part of it: what a table's rows took, which differs from run to run; where a
checkpoint came from and in which format, as equal weights are the same artefact.
"""


def problems(manifest: Path) -> Iterator[str]:
    """Everything that is wrong with an artefact, one line each; nothing if it is whole."""
    try:
        loaded = Manifest.load(manifest)
    except TatrError as error:
        yield str(error)
        return
    yield from _of_the_manifest(loaded, manifest.parent)
    yield from _of_inputs(loaded, manifest.parent)
    for name, expected in loaded.content.items():
        yield from _of_content(manifest.parent, name, expected)
    for name, expected in loaded.metadata.items():
        try:
            check_file(manifest.parent / name, expected, manifest.parent)
        except TatrError as error:
            yield str(error)
    for name in _surplus(loaded, manifest.parent):
        yield f"{name}: surplus (the manifest does not list it)"


def manifests(results: Path) -> list[Path]:
    """Those of all artefacts below a folder; of what attempts are building, none."""
    return sorted(path for path in results.rglob(FILE) if not Remnant.of(path.parent))


def without_manifest(results: Path) -> Iterator[tuple[Path, str]]:
    """What looks like an artefact below a folder and is none, and what attempts that are over have left in vain."""
    for path in _of_kinds(results):
        remnant = Remnant.of(path)
        if remnant and not _is_awaited(remnant) and not remnant.is_alive():
            yield path, f"left by {remnant.process}, which has ended (removed when it is made again)"
        elif not (remnant or path.is_symlink() or (path / FILE).exists()) and any(path.iterdir()):
            yield path, f"{FILE}: missing"


def states(results: Path) -> Iterator[Path]:
    """What attempts have saved below a folder, for the next one to go on from."""
    for path in _of_kinds(results):
        if (remnant := Remnant.of(path)) and _is_awaited(remnant):
            yield path


def _of_kinds(results: Path) -> list[Path]:
    folders = [path for path in (results, *results.glob("*")) if path.name in kinds() and path.is_dir()]
    return sorted(path for folder in folders for path in folder.iterdir() if path.is_dir() or Remnant.of(path))


def _is_awaited(remnant: Remnant) -> bool:
    """Whether it is a state of something that is still to be made."""
    return remnant.is_state and not (remnant.target / FILE).exists()


def _of_the_manifest(loaded: Manifest, folder: Path) -> Iterator[str]:
    if loaded.digest != canonical_digest(loaded.content):
        yield "the manifest was altered (its digest is not that of the content it lists)"
    if loaded.name != folder.name:
        yield f"the manifest is of '{loaded.name}', and the folder is called '{folder.name}'"


def _of_inputs(loaded: Manifest, folder: Path) -> Iterator[str]:
    """Inputs that are still there and hold something else by now."""
    for group in loaded.inputs.values():
        for name, digest in group.items():
            found = {path.parent: _stated_digest(path) for path in folder.parent.parent.glob(f"*/{name}/{FILE}")}
            if found and not {digest, ""} & {*found.values()}:
                given, now = next(iter(found.items()))
                yield f"was made from {given} when that held {digest[:12]}; it holds {now[:12]} now"


def _stated_digest(manifest: Path) -> str:
    try:
        return Manifest.load(manifest).digest
    except TatrError:
        return ""  # told where it stands


def _of_content(folder: Path, name: str, expected: str) -> Iterator[str]:
    path = folder / name
    if not path.exists():
        yield f"{name}: missing"
        return
    try:
        digest = _digest(path)
    except (TatrError, OSError) as error:
        yield str(error)
        return
    if digest != expected:
        yield f"{name}: altered (digest {digest[:12]}, the manifest says {expected[:12]})"


def _digest(path: Path) -> str:
    if path.name == "report.html":
        return page_digest(path)
    if path.suffix != ".zarr":
        return file_digest(path)
    return digest_images(path) if path.name == "images.zarr" else digest_vector(path)


def _surplus(loaded: Manifest, folder: Path) -> list[str]:
    stores = tuple(f"{name}/" for name in loaded.content if name.endswith(".zarr"))
    paths = [path for path in folder.rglob("*") if not path.is_dir() and path.name != STAMP]
    files = [path.relative_to(folder).as_posix() for path in paths]
    listed = {FILE, *loaded.content, *BESIDE}
    # What a file manager leaves in a folder that is looked at is no reason to make anything again.
    return sorted(name for name in files if not (name in listed or name.startswith(stores) or is_litter(name)))
