"""Flat vectors on disk: one-dimensional Zarr v3 arrays, sharded, checksummed, written and read block by block.

A store can be trusted when it is read: each chunk and each shard's index has a checksum, so flipped bits and truncated
shards raise when they are read; a missing or empty one is noticed when the store is opened.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from tatr.errors import TatrError
from tatr.vectors.layout import BLOCK, blocks
from tatr.vectors.vector import read

CHUNK = 2**18
"""Entries per chunk, the smallest unit that can be read back (1 MiB in float32)."""


class StoredVector:
    """A vector [N] on disk; slices are read, decompressed and checked on access."""

    def __init__(self, path: Path) -> None:
        """Open a store, checking that all of its shards are there."""
        self.path = path
        try:
            self.array = zarr.open_array(path, mode="r")
        except Exception as error:  # Zarr raises all kinds of errors on damaged metadata
            raise TatrError(f"{path}: not a vector store ({error}); delete {path.parent} and run again") from error
        for index in range(-(-len(self) // BLOCK)):
            # Zarr would read zeros without a word.
            if not ((shard := path / "c" / str(index)).is_file() and shard.stat().st_size):
                raise TatrError(f"{shard}: missing or empty; delete {path.parent} and run again")

    @property
    def layout(self) -> str:
        """Digest of the layout that the vector lies over."""
        return str(self.array.attrs.get("layout"))

    def __len__(self) -> int:
        return self.array.shape[0]

    def __getitem__(self, block: slice, /) -> np.ndarray:
        try:
            return np.asarray(self.array[block])
        except Exception as error:  # codecs raise all kinds of errors on damaged bytes
            raise TatrError(f"{self.path}: damaged ({error}); delete {self.path.parent} and run again") from error


def open_vectors(paths: Sequence[Path], layout: str | None = None) -> list[StoredVector]:
    """Open vectors that are to be combined.

    Args:
        paths: of the stores.
        layout: digest of the layout they must have; None takes the first one's.

    Raises:
        TatrError: they do not all lie over the same layout.
    """
    vectors = [StoredVector(path) for path in paths]
    for vector in vectors:
        layout = layout or vector.layout
        if vector.layout != layout:
            raise TatrError(f"{vector.path}: was made for another encoder than {paths[0]}; check the backbone")
    return vectors


def write_vector(path: Path, size: int, layout: str, parts: Iterable[np.ndarray], dtype: type = np.float32) -> str:
    """Write consecutive parts of a vector as a store and return its content digest.

    Args:
        path: the store to make; must not exist.
        size: N, how many entries there are.
        layout: digest of the layout that the vector lies over.
        parts: arrays that together have N entries, cut as `blocks(size)` cuts.
        dtype: float32, or bool for masks.

    Raises:
        TatrError: a value is NaN or infinite, or a part has the wrong length.
        ValueError: there are too few or too many parts.
    """
    array = zarr.create_array(
        store=path,
        shape=(size,),
        dtype=dtype,
        shards=(BLOCK,),
        chunks=(CHUNK,),
        compressors=ZstdCodec(level=1, checksum=True),
        attributes={"layout": layout},
        config={"write_empty_chunks": True},
    )
    digest = _hash(dtype, size, layout)
    for block, part in zip(blocks(size), parts, strict=True):
        part = np.ascontiguousarray(part, dtype)
        if part.shape != (block.stop - block.start,):
            raise TatrError(f"{path}: a part has shape {part.shape}, expected ({block.stop - block.start},)")
        if not np.isfinite(part).all():
            raise TatrError(f"{path}: entry {block.start + _first_bad(part):,} would be NaN or infinite; not written")
        array[block] = part
        digest.update(part)
    return digest.hexdigest()


def digest_vector(path: Path) -> str:
    """Recompute the content digest of a store by reading all of it."""
    vector = StoredVector(path)
    digest = _hash(vector.array.dtype.type, len(vector), vector.layout)
    for part in read(vector):
        digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()


def _hash(dtype: type, size: int, layout: str) -> "hashlib._Hash":
    # Over decoded values, not files: another compression level or Zarr version leaves the digest as it is.
    return hashlib.sha256(f"{np.dtype(dtype).name}[{size}] {layout}".encode())


def _first_bad(part: np.ndarray) -> int:
    return int(np.flatnonzero(~np.isfinite(part))[0])
