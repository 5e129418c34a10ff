"""A task's images, decoded once: uint8 Zarr arrays per split, with their labels.

A store can be trusted when it is read: each chunk and each shard's index has a checksum, so flipped bits and truncated
shards raise when they are read; a missing or empty shard raises when something in it is read.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from tatr.digests import ContentDigest
from tatr.errors import REPAIR, TatrError

SHARD = 512
"""Images per shard (75 MiB at 224 × 224), the most that a reader or writer holds at a time."""
CHUNK = 32
"""Images per chunk, the smallest unit that can be read back."""

SPLITS = ("train", "validation", "test")

# "zarr.Array[Any]" is quoted below: in the first versions of Zarr 3 the class is not generic.


class StoredImages:
    """The images of a split on disk; only the requested images are read, decompressed and checked."""

    def __init__(self, path: Path, array: "zarr.Array[Any]") -> None:
        """Wrap an array of the store at `path`."""
        self._path, self._array = path, array
        self.shape: tuple[int, ...] = array.shape
        """(n, H, W, 3)."""
        self.dtype: np.dtype = array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which: slice | np.ndarray, /) -> np.ndarray:
        """Images uint8 [B, H, W, 3] of a slice or of indices int64 [B] from 0 to n − 1, in the order given.

        Raises:
            TatrError: a shard that holds one of them is missing or damaged.
            IndexError: an index lies outside.
        """
        if isinstance(which, np.ndarray):
            return self._gather(which)
        start, stop, step = which.indices(len(self))
        if step != 1:
            return self._gather(np.arange(start, stop, step))
        return self._read(start, max(start, stop))

    def _gather(self, indices: np.ndarray) -> np.ndarray:
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"indices from {indices.min()} to {indices.max()} of {len(self)} images")
        images = np.empty((len(indices), *self.shape[1:]), self.dtype)
        step = self._array.chunks[0]
        # Chunk by chunk: Zarr's own selection by index takes tens of times as long.
        for start in np.unique(indices // step) * step:
            rows = np.flatnonzero(indices // step == start // step)
            images[rows] = self._read(start, min(start + step, len(self)))[indices[rows] - start]
        return images

    def _read(self, start: int, stop: int) -> np.ndarray:
        self._check_shards(start, stop)
        try:
            return np.asarray(self._array[start:stop])
        except Exception as error:  # codecs raise all kinds of errors on damaged bytes
            where = f"{self._path}/{self._array.path}"
            raise TatrError(f"{where}: damaged ({error}); {REPAIR}") from error

    def _check_shards(self, start: int, stop: int) -> None:
        step = (self._array.shards or self._array.chunks)[0]
        for number in range(start // step, -(-stop // step) if stop > start else 0):
            # A missing or empty shard would read as black images without a word.
            shard = shard_path(self._path, self._array.path, number, self._array.ndim)
            if not (shard.is_file() and shard.stat().st_size):
                raise TatrError(f"{shard}: missing or empty; {REPAIR}")


def open_images(path: Path, split: str) -> StoredImages:
    """Open the images of one split, to be read piece by piece; labels are not touched."""
    return _open(path, split, "images")


def read_labels(path: Path, split: str) -> np.ndarray:
    """Labels int64 [n] of one split. Only the final evaluation reads "test"."""
    return _open(path, split, "labels")[:]


def digest_images(path: Path) -> str:
    """Recompute the content digest by reading everything, a shard at a time."""
    digest = ContentDigest()
    for split in SPLITS:
        images, labels = open_images(path, split), read_labels(path, split)
        digest.update(_header(split, images))
        for start in range(0, len(images), SHARD):
            digest.update(images[start : start + SHARD])
        digest.update(_header(split, labels))
        digest.update(labels)
    return digest.hexdigest()


def shard_path(path: Path, array: str, number: int, dimensions: int = 4) -> Path:
    """The file of a shard of an array (such as "train/images") of the store at `path`."""
    return path / array / "c" / "/".join([str(number), *["0"] * (dimensions - 1)])


def create_images(group: zarr.Group, split: str, shape: tuple[int, ...]) -> "zarr.Array[Any]":
    """Make the array of a split's images, uint8 [n, H, W, 3], to be written shard by shard."""
    return _create(group, f"{split}/images", shape, np.uint8, (SHARD, *shape[1:]), (CHUNK, *shape[1:]))


def write_labels(group: zarr.Group, split: str, labels: np.ndarray) -> None:
    """Write a split's labels, int64 [n]."""
    _create(group, f"{split}/labels", labels.shape, np.int64, None, (max(1, len(labels)),))[:] = labels


def _create(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: type,
    shards: tuple[int, ...] | None,
    chunks: tuple[int, ...],
) -> "zarr.Array[Any]":
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        shards=shards,
        chunks=chunks,
        compressors=ZstdCodec(level=1, checksum=True),
        config={"write_empty_chunks": True},
    )


def _header(split: str, array: StoredImages | np.ndarray) -> bytes:
    return f"{split} {array.dtype}{list(array.shape)}".encode()


def _open(path: Path, split: str, name: str) -> StoredImages:
    try:
        array = zarr.open_group(path, mode="r")[f"{split}/{name}"]
        assert isinstance(array, zarr.Array)
        return StoredImages(path, array)
    except Exception as error:  # Zarr raises all kinds of errors on damaged metadata
        raise TatrError(f"{path}: split '{split}' can't be read ({error}); {REPAIR}") from error
