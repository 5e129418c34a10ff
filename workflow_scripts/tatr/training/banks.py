"""Task vectors that are read again and again, kept out of memory or on a GPU (`tatr.training.row_bank`)."""

from collections.abc import Sequence
from pathlib import Path

from tatr.merging.methods.ties import elect
from tatr.training.row_bank import RowBank
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector


class TaskVectorBank(RowBank):
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
        super().__init__(folder, "task vectors", device)
        elected = None if density is None else elect(task_vectors, layout, density)
        for block in layout.blocks():
            rows = (vector[block] for vector in task_vectors) if elected is None else iter(elected(block))
            for task, row in enumerate(rows):
                self._write(4 * (task * layout.size + block.start), row if mask is None else row * mask[block])
        tasks = range(len(task_vectors))
        self._places = {p.name: [(4 * (k * layout.size + p.offset), p.size) for k in tasks] for p in layout.parameters}
