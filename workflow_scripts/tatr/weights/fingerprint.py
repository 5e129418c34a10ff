"""Telling files of weights apart while the workflow is planned, without reading all of it."""

import hashlib
from pathlib import Path

from tatr.errors import TatrError
from tatr.weights.hub_cache import model_folder

EDGE = 2**20
"""Bytes read at either end of a file."""


def fingerprint(path: Path, key: str) -> str:
    """Digest of the size and both ends of a file, or of every file in a folder, independent of their names and times.

    Files of weights that differ at all differ in nearly every byte, so their ends tell them apart.

    Args:
        path: a file, or a folder of files.
        key: of the config, for the error.

    Raises:
        TatrError: there is nothing to read.
    """
    folder = model_folder(path)
    files = sorted(file for file in folder.iterdir() if file.is_file()) if folder.is_dir() else [path]
    if not files or not files[0].is_file():
        raise TatrError(f"{key}: {path} is no file, and no folder with files (seen from {Path.cwd()})")
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        with file.open("rb") as stream:
            digest.update(f"{size} ".encode() + stream.read(EDGE))
            stream.seek(max(EDGE, size - EDGE))
            digest.update(stream.read())
    return digest.hexdigest()[:16]
