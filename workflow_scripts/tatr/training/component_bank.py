"""Singular vectors that are read again and again, kept out of memory or on a GPU (`tatr.training.row_bank`)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from tatr.merging.matrices.decompositions import leading
from tatr.merging.methods.ada_rank import base_of, block_weights, deviations
from tatr.progress import progress
from tatr.training.row_bank import RowBank
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.threads import in_order
from tatr.vectors.vector import Vector


class ComponentBank(RowBank):
    """What each task's model has beyond the base: singular vectors of the weights of blocks, and all else as it is.

    A row is empty where a task changed nothing.
    """

    def __init__(
        self, folder: Path, task_vectors: Sequence[Vector], layout: Layout, base: str, device: str = "cpu"
    ) -> None:
        """Decompose all matrices once, in float64, and write their singular vectors down in float32.

        Args:
            folder: on a file system with room for 4·K·N bytes, and about a third more.
            task_vectors: Δ_k, each [N].
            layout: which entries are which tensor's.
            base: what tasks are measured from (`tatr.merging.methods.ada_rank`).
            device: where the vectors are wanted.
        """
        super().__init__(folder, "singular vectors", device)
        self.values: dict[str, list[Tensor]] = {}
        """σ by the weight's name and the task, the largest first, float32 [r] on the CPU."""
        weights, end = {parameter.name for parameter in block_weights(layout)}, 0
        # One thread of the linear algebra library for each decomposition, as where merges decompose the same.
        with threadpool_limits(1, user_api="blas"):
            for parameter in progress(layout.parameters, "singular components"):
                changes = deviations(task_vectors, parameter, base_of(task_vectors, parameter, base))
                places, values = [], []
                for row, its in in_order(_decomposed if parameter.name in weights else _whole, changes):
                    self._write(end, row)
                    places.append((end, row.size))
                    values.append(torch.from_numpy(its))
                    end += row.nbytes
                self._places[parameter.name] = places
                if parameter.name in weights:
                    self.values[parameter.name] = values


def vectors_of(row: Tensor, weight: Parameter) -> tuple[Tensor, Tensor]:
    """Left and right singular vectors [r, out] and [r, in] of a weight's row; views."""
    out, into = weight.shape
    left, right = row.split([row.numel() // (out + into) * side for side in (out, into)])
    return left.view(-1, out), right.view(-1, into)


def _decomposed(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A row of U and V, one component after the other in each, and σ."""
    if not matrix.any():
        return np.empty(0, np.float32), np.empty(0, np.float32)
    left, values, right = leading(matrix, min(matrix.shape))
    row = np.concatenate([left.T.reshape(-1), right.T.reshape(-1)])
    return row.astype(np.float32), values.astype(np.float32)


def _whole(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row = change.reshape(-1).astype(np.float32)
    return row if row.any() else row[:0], np.empty(0, np.float32)
