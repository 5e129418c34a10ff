"""The Hub's cache on disk: a repository's folder (`models--ORG--NAME`) leads to the snapshot that holds its files."""

import os
from pathlib import Path

from tatr.errors import TatrError

SNAPSHOTS = "snapshots"


def model_folder(path: Path) -> Path:
    """Where a model's files lie: the path itself, or of a repository in the Hub's cache the snapshot that `main` means.

    Raises:
        TatrError: the cache lacks it, or has several and doesn't say which.
    """
    snapshots = path / SNAPSHOTS
    if not snapshots.is_dir() or not any((path / name).is_dir() for name in ("refs", "blobs")):
        return path
    there = sorted(folder.name for folder in snapshots.iterdir() if folder.is_dir())
    main = path / "refs" / "main"
    if main.is_file():
        commit = main.read_text(encoding="utf-8", errors="replace").strip()
        if commit not in there:
            raise TatrError(f"{path}: lacks the snapshot {commit!r} that refs/main names; download the model again")
        return snapshots / commit
    if len(there) != 1:
        found = ", ".join(there[:3]) or "none"
        raise TatrError(f"{snapshots}: which snapshot? Expected one, or refs/main; found {found}; give its folder")
    return snapshots / there[0]


def name_of(path: Path) -> str:
    """What a model's file or folder is called: in the Hub's cache like its repository, not like a commit."""
    # Not resolved: links in the cache lead to files that are called by their digests.
    path = Path(os.path.normpath(path.absolute()))
    folder = path.parents[1] if path.parent.name == SNAPSHOTS else path
    name = folder.name.rpartition("--")[2] if folder.name.startswith("models--") else path.name
    return name.removesuffix(".safetensors") or name
