"""Image stores of arrays that a test has in memory."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import zarr

from tatr.data.image_store import create_images, digest_images, open_images, read_labels, write_labels


def write_images(path: Path, splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Write images uint8 [n, H, W, 3] and labels int64 [n] of every split; return the content digest."""
    group = zarr.create_group(path)
    for split, (images, labels) in splits.items():
        create_images(group, split, images.shape)[:] = images
        write_labels(group, split, labels)
    return digest_images(path)


def read_split(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, H, W, 3] and labels int64 [n] of one split."""
    return open_images(path, split)[:], read_labels(path, split)
