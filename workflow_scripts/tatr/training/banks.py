"""Task vectors that are read again and again, kept out of memory in a file without a name (`tatr.training.scratch`)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tatr.merging.methods.ties import elect
from tatr.training.scratch import Scratch
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector


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

    def rows(self, parameter: Parameter) -> Iterator[Tensor]:
        """One tensor of each task vector, float32 [entries], on the device; each valid until the next one is read."""
        row = self._buffer[: parameter.size]
        for task in range(self.tasks):
            self._read(4 * (task * self._size + parameter.offset), row.numpy())
            yield row.to(self._device)
