"""What methods that look at images see of a parameter: each task's change of it, and the inputs that it multiplies."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tatr.merging.matrices.each_parameter import each_parameter
from tatr.merging.matrices.linear_maps import Gram, as_map, from_map, inputs_of, is_linear_map
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector


@dataclass(frozen=True)
class MeasuredTasks:
    """One parameter in all tasks; read when it is asked for, so that one task's need be in memory at a time."""

    task_vectors: Sequence[Vector]
    grams: Sequence[Gram]
    parameter: Parameter

    def __len__(self) -> int:
        """How many tasks there are."""
        return len(self.task_vectors)

    def change(self, task: int) -> np.ndarray:
        """Δ_k, float64 [size]."""
        return self.task_vectors[task][self.parameter.offset : self.parameter.stop].astype(np.float64)

    def total(self) -> np.ndarray:
        """Σ_k Δ_k, float64 [size]."""
        added = np.zeros(self.parameter.size)
        for task in range(len(self)):
            added += self.change(task)
        return added

    def moments(self, task: int) -> np.ndarray:
        """Of the inputs in model θ_k on task k's images, float64: a linear map's G_k, [in, in]; a scale's diagonal."""
        return self.grams[task].matrix(self.parameter.name).astype(np.float64)

    @property
    def shape(self) -> tuple[int, int]:
        """Out and in of a linear map."""
        inputs = inputs_of(self.parameter)
        return self.parameter.size // inputs, inputs

    def matrix(self, task: int) -> np.ndarray:
        """Δ_k of a linear map as D_k, float64 [out, in]."""
        return as_map(self.parameter, self.change(task)).T

    def entries(self, matrix: np.ndarray) -> np.ndarray:
        """A linear map that lies as D_k does, as entries of the parameter, [size]."""
        return from_map(self.parameter, matrix.T)


def each_measured(
    function: Callable[[MeasuredTasks], np.ndarray],
    task_vectors: Sequence[Vector],
    layout: Layout,
    grams: Sequence[Vector],
    *,
    bytes_of: Callable[[Parameter], float],
) -> Iterator[np.ndarray]:
    """Blocks of the direction that is function(tasks) at every parameter.

    Args:
        function: the merged parameter's entries, [size]; on one thread, as `each_parameter` says.
        task_vectors: Δ_k, each float32 [N].
        layout: of the task vectors.
        grams: of each task, over `gram_layout(layout)`.
        bytes_of: the most that `function` holds at once for a linear map.

    Raises:
        TatrError: Gram matrices are of another encoder.
    """
    measured = [Gram.over(layout, values) for values in grams]
    return each_parameter(
        lambda parameter: function(MeasuredTasks(task_vectors, measured, parameter)).astype(np.float32),
        layout,
        lambda parameter: bytes_of(parameter) if is_linear_map(parameter) else 24 * parameter.size,
    )
