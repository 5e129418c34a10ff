"""What is read again and again, kept out of memory: task vectors and unlabelled images in files without a name.

The operating system caches as much of such a file as there is room for, so reading is fast; the process itself holds
one piece at a time, however many tasks there are. Without a name, a file is gone with the process, even a killed one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tatr import layout as layouts
from tatr.encoders import Task
from tatr.layout import Layout, Parameter
from tatr.methods.ties import elect
from tatr.vector import Vector


class _Scratch:
    """A file without a name."""

    def __init__(self, folder: Path) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  (closed by __exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def _write(self, offset: int, values: np.ndarray) -> None:
        self._file.seek(offset)
        self._file.write(np.ascontiguousarray(values))

    def _read(self, offset: int, into: np.ndarray) -> None:
        self._file.seek(offset)
        if self._file.readinto(into) != into.nbytes:
            raise OSError(f"a temporary file ends before byte {offset + into.nbytes:,}")


class TaskVectorBank(_Scratch):
    """Task vectors as they are merged: trimmed if asked for, masked, and read back tensor by tensor."""

    def __init__(
        self,
        folder: Path,
        task_vectors: Sequence[Vector],
        layout: Layout,
        mask: Vector | None = None,
        density: float | None = None,
        device: str = "cpu",
    ) -> None:
        """Prepare the task vectors once and write them down.

        Args:
            folder: on a file system with room for 4·K·N bytes.
            task_vectors: Δ_k, each [N].
            layout: which entries are which tensor's.
            mask: True where the trust region is, bool [N]; None for no restriction.
            density: what `tatr.methods.ties.elect` keeps of each task vector before the mask; None takes it as it is.
            device: where the tensors are wanted.
        """
        super().__init__(folder)
        self.tasks, self._size, self._device = len(task_vectors), layout.size, device
        elected = None if density is None else elect(task_vectors, layout, density)
        step = max(1, layouts.BLOCK // self.tasks)  # all tasks' pieces together are one block
        for block in (slice(start, min(start + step, self._size)) for start in range(0, self._size, step)):
            rows = [vector[block] for vector in task_vectors] if elected is None else elected(block)
            for task, row in enumerate(rows):
                self._write(4 * (task * self._size + block.start), row if mask is None else row * mask[block])
        largest = max(parameter.size for parameter in layout.parameters)
        self._buffer = torch.empty(largest, pin_memory=device.startswith("cuda"))

    def rows(self, parameter: Parameter) -> Iterator[Tensor]:
        """One tensor of each task vector, float32 [entries], on the device; each is lost when the next is asked for."""
        row = self._buffer[: parameter.size]
        for task in range(self.tasks):
            self._read(4 * (task * self._size + parameter.offset), row.numpy())
            yield row.to(self._device)


class ImageBank(_Scratch):
    """Unlabelled images of all tasks, read back by index."""

    def __init__(self, folder: Path, tasks: Sequence[Task], split: str) -> None:
        """Write down the images of a split, one task after another; labels are not read.

        Raises:
            TatrError: a task's split is empty.
        """
        super().__init__(folder)
        self.shapes: list[tuple[int, ...]] = []
        """Per task (n, H, W, 3)."""
        self._offsets = [0]
        for task in tasks:
            self._append(task.unlabelled(split))  # given no name, it is gone before the next is read

    def _append(self, images: np.ndarray) -> None:
        self._write(self._offsets[-1], images)
        self.shapes.append(images.shape)
        self._offsets.append(self._offsets[-1] + images.nbytes)

    def images(self, task: int, indices: np.ndarray) -> np.ndarray:
        """Images uint8 [B, H, W, 3] of the task with that number."""
        found = np.empty((len(indices), *self.shapes[task][1:]), np.uint8)
        for image, index in zip(found, indices, strict=True):
            self._read(self._offsets[task] + int(index) * image.nbytes, image)
        return found
