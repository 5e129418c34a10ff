"""Digests: one number for equal values, equal files."""

import hashlib
import json
from pathlib import Path
from typing import Any


def canonical(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    """JSON with sorted keys and no spaces: one text per value, for any order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_digest(value: Any) -> str:  # noqa: ANN401
    """SHA-256 of a JSON value's canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
