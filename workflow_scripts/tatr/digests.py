"""Digests: one number for equal values, equal files.

Content, which may be gigabytes, has XXH3 digests of 128 bits: they find any damage, at the speed of memory. What others
publish is compared by SHA-256, as they state it; names are short, and made of SHA-256, too.
"""

import hashlib
import json
from pathlib import Path
from threading import Lock
from typing import Any

import xxhash

PIECE = 2**20
"""Bytes of a file that are hashed at once."""

FEW = 2**16
"""Bytes that are too few to read others before them once more."""


def canonical(value: Any) -> str:  # noqa: ANN401  (any JSON value)
    """JSON with sorted keys and no spaces: one text per value, for any order of its keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical_digest(value: Any) -> str:  # noqa: ANN401
    """SHA-256 of a JSON value's canonical text."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


ContentDigest = xxhash.xxh3_128
"""To be updated with the bytes of some content; `hexdigest()` is what manifests state."""


class FollowingDigest:
    """Digest of a file that is read anyway, in order or nearly so: it hashes what readers have just read."""

    def __init__(self, path: Path) -> None:
        """Of a file, which is opened whenever a piece is hashed: models lie in more files than a process may open."""
        self._path, self._hash = path, ContentDigest()
        self._done = 0
        self._lock = Lock()

    def follow(self, position: int, content: memoryview) -> None:
        """Someone has read these bytes from a position on: hash up to their end, unless another thread is hashing.

        What lies before them and was not hashed (another thread reads it, or nobody) is read once more; not for a few
        bytes, which may be a sample of the file.
        """
        if (position > self._done and len(content) < FEW) or not self._lock.acquire(blocking=False):
            return
        try:
            self._hash_up_to(position)
            if position <= self._done < position + len(content):
                self._hash.update(content[self._done - position :])
                self._done = position + len(content)
        finally:
            self._lock.release()

    def hexdigest(self) -> str:
        """Hash what is left."""
        with self._lock:
            self._hash_up_to(None)
        return self._hash.hexdigest()

    def _hash_up_to(self, position: int | None) -> None:
        if position is not None and position <= self._done:
            return
        with self._path.open("rb", buffering=0) as file:
            file.seek(self._done)
            while piece := file.read(PIECE if position is None else min(PIECE, position - self._done)):
                self._hash.update(piece)
                self._done += len(piece)


def file_digest(path: Path) -> str:
    """Digest of a file's bytes (`xxhsum -H2 FILE` prints the same)."""
    return FollowingDigest(path).hexdigest()


def published_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, which is what the Hub, OpenAI and open_clip state."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
