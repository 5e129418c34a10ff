"""Whether an artefact still holds what its manifest says."""

from collections.abc import Iterator
from pathlib import Path

from tatr.data.image_store import digest_images
from tatr.digests import canonical_digest, file_digest
from tatr.errors import TatrError
from tatr.report.page.rendering import page_digest
from tatr.vectors.store import digest_vector
from tatr.workflow.artefact import Manifest


def problems(manifest: Path) -> Iterator[str]:
    """Everything that is wrong with an artefact, one line each; nothing if it is whole."""
    try:
        loaded = Manifest.load(manifest)
    except TatrError as error:
        yield str(error)
        return
    if loaded.digest != canonical_digest(loaded.content):
        yield "the manifest was altered (its digest is not that of the content it lists)"
    for name, expected in loaded.content.items():
        path = manifest.parent / name
        if not path.exists():
            yield f"{name}: missing"
            continue
        try:
            digest = _digest(path)
        except TatrError as error:
            yield str(error)
            continue
        if digest != expected:
            yield f"{name}: altered (digest {digest[:12]}, the manifest says {expected[:12]})"


def _digest(path: Path) -> str:
    if path.name == "report.html":
        return page_digest(path)
    if path.suffix != ".zarr":
        return file_digest(path)
    return digest_images(path) if path.name == "images.zarr" else digest_vector(path)
