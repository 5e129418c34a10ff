"""Artefacts that tests change on purpose, so that their manifests say so."""

from dataclasses import replace
from pathlib import Path

from tatr.digests import canonical_digest, file_digest
from tatr.workflow.artefact import FILE, Manifest


def seal(folder: Path) -> None:
    """Write the manifest again, with the digests of the files that are there now."""
    manifest = Manifest.load(folder / FILE)
    stated = manifest.content
    content = {name: file_digest(folder / name) if (folder / name).is_file() else stated[name] for name in stated}
    replace(manifest, content=content, digest=canonical_digest(content)).save(folder)
