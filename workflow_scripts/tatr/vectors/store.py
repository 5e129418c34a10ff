"""Flat vectors on disk: one-dimensional Zarr v3 arrays, one checksummed file per chunk, written and read in blocks.

Float vectors are not compressed: their bits are noise, and decompressing them takes ten times as long as reading them.
A store can be trusted when it is read: each chunk has a CRC32C, so flipped bits raise when they are read; a missing,
truncated or empty chunk is noticed when the store is opened.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tatr.digests import ContentDigest
from tatr.errors import REPAIR, TatrError
from tatr.vectors.chunks import Form
from tatr.vectors.layout import BLOCK, all_finite, blocks
from tatr.vectors.vector import read


class StoredVector:
    """A vector [N] on disk; slices are read and checked on access, by whole chunks."""

    def __init__(self, path: Path) -> None:
        """Open a store, checking that all of its chunks are there and as long as they should be."""
        self.path = path
        try:
            self.form = Form.read(path)
        except (OSError, ValueError, RecursionError) as error:
            raise TatrError(f"{path}: not a vector store ({error}); {REPAIR}") from error
        expected = self.form.bytes_of_chunk
        for index in range(-(-len(self) // self.grain)):
            chunk = self._chunk(index)
            found = chunk.stat().st_size if chunk.is_file() else 0
            if not found or found != (expected or found):
                state = f"damaged ({found:,} bytes, expected {expected:,})" if found else "missing or empty"
                raise TatrError(f"{chunk}: {state}; {REPAIR}")

    @property
    def grain(self) -> int:
        """How many entries are read at least, to get one."""
        return self.form.chunk

    @property
    def gives_new(self) -> bool:
        """Whether a block may be written over; a mask's can't, as it lies in what was decompressed."""
        return self.form.dtype != bool

    @property
    def layout(self) -> str:
        """Digest of the layout that the vector lies over."""
        return self.form.layout

    def __len__(self) -> int:
        return self.form.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        parts = []
        for index in range(block.start // self.grain, -(-block.stop // self.grain)):
            first, last = max(block.start - index * self.grain, 0), min(block.stop - index * self.grain, self.grain)
            try:
                parts.append(self.form.read_chunk(self._chunk(index))[first:last])
            except Exception as error:  # codecs raise all kinds of errors on damaged bytes
                raise TatrError(f"{self.path}: damaged ({error}); {REPAIR}") from error
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, self.form.dtype), *parts])

    def _chunk(self, index: int) -> Path:
        return self.path / "c" / str(index)


def open_vectors(paths: Sequence[Path], layout: str | None = None) -> list[StoredVector]:
    """Open vectors that are to be combined.

    Args:
        paths: of the stores.
        layout: digest of the layout they must have; None takes the first one's.

    Raises:
        TatrError: they do not all lie over the same layout, or differ in length.
    """
    vectors = [StoredVector(path) for path in paths]
    for vector in vectors:
        layout = layout or vector.layout
        if vector.layout != layout:
            raise TatrError(f"{vector.path}: was made for another encoder than {paths[0]}; check the backbone")
        if len(vector) != len(vectors[0]):
            sizes = f"{len(vector)} entries, and {paths[0]} {len(vectors[0])}"
            raise TatrError(f"{vector.path}: has {sizes}, over the same layout; {REPAIR}")
    return vectors


def write_vector(path: Path, size: int, layout: str, parts: Iterable[np.ndarray], dtype: type = np.float32) -> str:
    """Write consecutive parts of a vector as a store and return its content digest.

    Args:
        path: the store to make; must not exist.
        size: N, how many entries there are.
        layout: digest of the layout that the vector lies over.
        parts: arrays that together have N entries, cut as `blocks(size)` cuts.
        dtype: float32, or bool for masks, which are compressed.

    Raises:
        TatrError: a value is NaN or infinite, or a part has the wrong length.
        ValueError: there are too few or too many parts.
    """
    form = Form(size, np.dtype(dtype), min(BLOCK, max(1, size)), layout)
    form.create(path)
    digest = _hash(form.dtype, size, layout)
    with ThreadPoolExecutor(1) as hasher:  # while the part is checked and written
        for index, (block, part) in enumerate(zip(blocks(size), parts, strict=True)):
            part = np.ascontiguousarray(part, dtype)
            if part.shape != (block.stop - block.start,):
                raise TatrError(f"{path}: a part has shape {part.shape}, expected ({block.stop - block.start},)")
            hashed = hasher.submit(digest.update, part)
            if dtype is not bool:
                _check_finite(part, block, path)
            form.write_chunk(path / "c" / str(index), part)
            hashed.result()
    return digest.hexdigest()


def digest_vector(path: Path) -> str:
    """Recompute the content digest of a store by reading all of it."""
    vector = StoredVector(path)
    digest = _hash(vector.form.dtype, len(vector), vector.layout)
    for part in read(vector):
        digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()


def _hash(dtype: np.dtype[Any], size: int, layout: str) -> ContentDigest:
    # Over decoded values, not files: other codecs, chunks or Zarr versions leave the digest as it is.
    return ContentDigest(f"{dtype.name}[{size}] {layout}".encode())


def _check_finite(part: np.ndarray, block: slice, path: Path) -> None:
    if not all_finite(part):
        bad = block.start + int(np.flatnonzero(~np.isfinite(part))[0])
        raise TatrError(f"{path}: entry {bad:,} would be NaN or infinite; not written")
