"""Task vectors that are read again and again, kept out of memory in a file without a name (`tatr.training.scratch`).

Or on a GPU, if they fit there.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tatr.merging.methods.ties import elect
from tatr.training.devices import free_memory
from tatr.training.scratch import Scratch
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector

ALIGNMENT = 128
"""Entries (512 bytes): each tensor kept on a GPU begins at a multiple, as one that torch allocates."""
GIB = 2**30

logger = logging.getLogger("tatr")


class TaskVectorBank(Scratch):
    """Task vectors as they are merged: trimmed if set so, masked, and read back tensor by tensor."""

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
            density: what `tatr.merging.methods.ties.elect` keeps of each task vector before the mask; None takes it
                as it is.
            device: where the tensors are wanted.
        """
        super().__init__(folder)
        self.tasks, self._size, self._device = len(task_vectors), layout.size, device
        elected = None if density is None else elect(task_vectors, layout, density)
        for block in layout.blocks():
            rows = (vector[block] for vector in task_vectors) if elected is None else iter(elected(block))
            for task, row in enumerate(rows):
                self._write(4 * (task * self._size + block.start), row if mask is None else row * mask[block])
        largest = max(parameter.size for parameter in layout.parameters)
        self._buffer = torch.empty(largest, pin_memory=device.startswith("cuda"))
        self._parameters = layout.parameters
        self._kept: dict[str, Tensor] = {}

    def keep(self) -> None:
        """From now on keep the task vectors on the GPU, in float32, if they fit into the memory that is free there.

        So ask when torch holds all else that is needed, as after one iteration. Nothing changes but the time.
        """
        free = free_memory(self._device)
        if free is None:
            return
        widths = [-(-parameter.size // ALIGNMENT) * ALIGNMENT for parameter in self._parameters]
        needed = 4 * self.tasks * sum(widths)
        if needed > free:
            logger.info("task vectors: %.1f GiB, but %.1f GiB are free; read anew each time", needed / GIB, free / GIB)
            return
        whole = torch.empty(needed // 4, device=self._device)  # at once, so that nothing is lost between the pieces
        places = whole.split([self.tasks * width for width in widths])
        for parameter, place in zip(self._parameters, places, strict=True):
            rows = place.view(self.tasks, -1)[:, : parameter.size]
            for number, row in enumerate(self.rows(parameter)):
                rows[number] = row
            self._kept[parameter.name] = rows
        self._file.truncate(0)
        logger.info("task vectors: %.1f GiB, kept on the GPU (%.1f GiB were free)", needed / GIB, free / GIB)

    def rows(self, parameter: Parameter) -> Iterator[Tensor]:
        """One tensor of each task vector, float32 [entries], on the device; each valid until the next one is read."""
        if parameter.name in self._kept:
            yield from self._kept[parameter.name]
            return
        row = self._buffer[: parameter.size]
        for task in range(self.tasks):
            self._read(4 * (task * self._size + parameter.offset), row.numpy())
            yield row.to(self._device)
