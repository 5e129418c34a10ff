"""What is read again and again, kept out of memory: images, or arrays, in a file without a name.

The operating system caches as much of such a file as there is room for, so reading is fast; the process itself holds
one piece at a time, for any number of images. Without a name, a file is gone with the process, even a killed one.
"""

import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

import numpy as np

from tatr.data.batches import batches
from tatr.data.image_store import StoredImages
from tatr.data.task import Task

PIECE = 256
"""Images written at once; twice as many are in memory (38 MiB each at 224 × 224)."""


class Scratch:
    """A file without a name."""

    def __init__(self, folder: Path | None) -> None:
        """Open it in a folder; None for the system's own folder of temporary files."""
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  (closed by __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _write(self, offset: int, values: np.ndarray) -> None:
        self._file.seek(offset)
        self._file.write(np.ascontiguousarray(values))
        self._file.flush()  # `_read` goes past the buffer

    def _read(self, offset: int, array: np.ndarray) -> None:
        """Fill an array; several threads may do so at a time, as the file's position is left alone."""
        left = array.reshape(-1).view(np.uint8)
        while left.size:
            count = os.preadv(self._file.fileno(), [left], offset + array.nbytes - left.size)
            if not count:
                raise OSError(f"a temporary file ends before byte {offset + array.nbytes:,}")
            left = left[count:]


class ArrayBank(Scratch):
    """Float32 arrays by keys. One that is written again keeps its place, so it must keep its shape."""

    def __init__(self, folder: Path | None) -> None:
        """Begin with none."""
        super().__init__(folder)
        self._places: dict[Hashable, tuple[int, tuple[int, ...]]] = {}
        self._end = 0

    def write(self, key: Hashable, array: np.ndarray) -> None:
        """Write an array down."""
        array = np.ascontiguousarray(array, np.float32)
        offset, shape = self._places.setdefault(key, (self._end, array.shape))
        if shape != array.shape:
            raise ValueError(f"{key}: {array.shape} in the place of {shape}")
        self._end = max(self._end, offset + array.nbytes)
        self._write(offset, array)

    def read(self, key: Hashable, inside: slice | None = None) -> np.ndarray:
        """An array as it was written, or consecutive entries of it, seen as flat."""
        offset, shape = self._places[key]
        array = np.empty(shape if inside is None else inside.stop - inside.start, np.float32)
        self._read(offset + (4 * inside.start if inside else 0), array)
        return array


class ImageBank(Scratch):
    """Images of all tasks, read back by index: raw bytes, as single images of a compressed store are slow to read."""

    def __init__(self, folder: Path | None, tasks: Sequence[Task], split: str) -> None:
        """Write down the images of a split, one task after another; labels are not read.

        Raises:
            TatrError: a task's split is empty.
        """
        super().__init__(folder)
        self.shapes: list[tuple[int, ...]] = []
        """Per task (n, H, W, 3)."""
        self._offsets = [0]
        for task in tasks:
            self._append(task.unlabelled(split))

    def _append(self, images: StoredImages) -> None:
        offset = self._offsets[-1]
        for piece in batches(images, PIECE):
            self._write(offset, piece.numpy())
            offset += piece.nbytes
        self.shapes.append(images.shape)
        self._offsets.append(offset)

    def images(self, task: int, indices: np.ndarray) -> np.ndarray:
        """Images uint8 [B, H, W, 3] of the task with that number."""
        images = np.empty((len(indices), *self.shapes[task][1:]), np.uint8)
        for image, index in zip(images, indices, strict=True):
            self._read(self._offsets[task] + int(index) * image.nbytes, image)
        return images
