"""A task's images, decoded once: uint8 Zarr arrays per split, with their labels."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from tatr.errors import TatrError

SHARD = 512
"""Images per shard (75 MiB at 224 × 224)."""

SPLITS = ("train", "validation", "test")


def write_images(path: Path, splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Write images uint8 [n, H, W, 3] and labels int64 [n] of every split; return the content digest."""
    group = zarr.create_group(path)
    for split, (images, labels) in splits.items():
        chunk = (32, *images.shape[1:])
        _write(group, f"{split}/images", images, shards=(SHARD, *images.shape[1:]), chunks=chunk)
        _write(group, f"{split}/labels", labels, shards=None, chunks=(max(1, len(labels)),))
    return digest_images(path)


def read_split(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, H, W, 3] and labels int64 [n] of one split. Only the final evaluation asks for "test"."""
    return read_images(path, split), _open(path, split, "labels")


def read_images(path: Path, split: str) -> np.ndarray:
    """Images uint8 [n, H, W, 3] of one split, for those that must not see labels."""
    return _open(path, split, "images")


def digest_images(path: Path) -> str:
    """Recompute the content digest by reading everything."""
    digest = hashlib.sha256()
    for split in SPLITS:
        for array in read_split(path, split):
            digest.update(f"{split} {array.dtype}{list(array.shape)}".encode())
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _write(group: zarr.Group, name: str, values: np.ndarray, shards: tuple[int, ...] | None, chunks: tuple) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        shards=shards,
        chunks=chunks,
        compressors=ZstdCodec(level=1, checksum=True),
        config={"write_empty_chunks": True},
    )
    array[:] = values


def _open(path: Path, split: str, name: str) -> np.ndarray:
    try:
        return _read(zarr.open_group(path, mode="r"), path, f"{split}/{name}")
    except TatrError:
        raise
    except Exception as error:  # Zarr raises whatever it likes at damaged metadata
        raise TatrError(
            f"{path}: split '{split}' can't be read ({error}); delete {path.parent} and run again"
        ) from error


def _read(group: zarr.Group, path: Path, name: str) -> np.ndarray:
    array = group[name]
    assert isinstance(array, zarr.Array)
    step = (array.shards or array.chunks)[0]
    for index in range(-(-array.shape[0] // step)):
        # A missing or empty shard would read as black images without a word.
        shard = path / name / "c" / "/".join([str(index), *["0"] * (array.ndim - 1)])
        if not (shard.is_file() and shard.stat().st_size):
            raise TatrError(f"{shard}: missing or empty; delete {path.parent} and run again")
    try:
        return np.asarray(array[:])
    except Exception as error:  # codecs raise whatever they like at damaged bytes
        raise TatrError(f"{path}/{name}: damaged ({error}); delete {path.parent} and run again") from error
