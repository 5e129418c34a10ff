"""What methods on matrices see of a parameter: a matrix D_k [out, in] of each task. One decision for all of them.

Matrices are the parameters with two dimensions: the weights of attention and MLP, the projection, and the positional
embedding (a row per position). Each lies as [out, in]; the projection, which is used as x·W, is turned, so that a
method that treats outputs and inputs differently treats them alike everywhere. Attention's queries, keys and values
are one matrix, stacked, or three: each method's setting `attention`. All else (class token, biases, norms, the patch
convolution with its four dimensions, tensors without entries) is no matrix, and by default gets the tasks' mean.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from tatr.merging.matrices.each_parameter import each_parameter
from tatr.merging.matrices.linear_maps import TRANSPOSED
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector

STACKED = "in_proj_weight"
"""How names of attention's stacked weights end, [3·out, in]."""

ROUNDING = 1e-7
"""Share of a task's matrix (Frobenius norm) up to which what is left of a part of it may be float32's rounding."""

Attention = Annotated[
    Literal["stacked", "separate"],
    "queries, keys and values: one matrix, as open_clip stores them, or three, as Hugging Face does",
]
Elsewhere = Annotated[Literal["mean", "pretrained"], "what is no matrix: the tasks' mean, or as it is in θ_pre"]


@dataclass(frozen=True)
class TaskMatrices:
    """D_k of one parameter; read when it is asked for, so that one need be in memory at a time."""

    task_vectors: Sequence[Vector]
    parameter: Parameter

    def __len__(self) -> int:
        """How many tasks there are."""
        return len(self.task_vectors)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Each task's, float64 [out, in], as a new array."""
        for vector in self.task_vectors:
            part = vector[self.parameter.offset : self.parameter.stop].astype(np.float64)
            yield part.reshape(self.parameter.shape).T if self.turned else part.reshape(self.parameter.shape)

    @property
    def turned(self) -> bool:
        """Whether the parameter lies as [in, out]."""
        return self.parameter.name in TRANSPOSED

    @property
    def shape(self) -> tuple[int, int]:
        """Out and in."""
        first, second = self.parameter.shape
        return (second, first) if self.turned else (first, second)

    def total(self) -> np.ndarray:
        """Σ_k D_k, float64 [out, in]."""
        added = np.zeros(self.shape)
        for matrix in self:
            added += matrix
        return added

    def mean(self) -> np.ndarray:
        """Σ_k D_k / K, float64 [out, in]."""
        return self.total() / len(self)


def each_matrix(
    function: Callable[[TaskMatrices], np.ndarray],
    task_vectors: Sequence[Vector],
    layout: Layout,
    attention: Attention = "stacked",
    elsewhere: Elsewhere = "mean",
    *,
    bytes_of: Callable[[Parameter], float],
) -> Iterator[np.ndarray]:
    """Blocks of the direction that is function(D_1 … D_K) at every matrix.

    Args:
        function: the merged matrix [out, in] of the tasks' ones; on one thread, as `each_parameter` says.
        task_vectors: Δ_k, each float32 [N].
        layout: of the vectors.
        attention: whether stacked queries, keys and values are one matrix or three.
        elsewhere: what v is where there is no matrix.
        bytes_of: the most that `function` holds at once for a parameter with two dimensions.
    """

    def merged(parameter: Parameter) -> np.ndarray:
        if is_matrix(parameter):
            matrices = TaskMatrices(task_vectors, parameter)
            found = function(matrices).astype(np.float32)
            return found.T if matrices.turned else found
        return np.zeros(parameter.size, np.float32) if elsewhere == "pretrained" else _mean(task_vectors, parameter)

    parts = Layout(tuple(part for parameter in layout.parameters for part in _parts(parameter, attention)))
    return each_parameter(merged, parts, lambda part: bytes_of(part) if is_matrix(part) else 12 * part.size)


def is_matrix(parameter: Parameter) -> bool:
    """Whether methods on matrices see a parameter as one."""
    return len(parameter.shape) == 2 and parameter.size > 0


def _parts(parameter: Parameter, attention: Attention) -> list[Parameter]:
    """A parameter, or its three matrices one after the other."""
    if attention == "stacked" or not (is_matrix(parameter) and parameter.name.endswith(STACKED)):
        return [parameter]
    rows, columns = parameter.shape
    if rows % 3:
        return [parameter]
    third = parameter.size // 3
    return [Parameter(parameter.name, (rows // 3, columns), parameter.offset + index * third) for index in range(3)]


def _mean(task_vectors: Sequence[Vector], parameter: Parameter) -> np.ndarray:
    total = np.zeros(parameter.size)
    for vector in task_vectors:
        total += vector[parameter.offset : parameter.stop]
    return (total / len(task_vectors)).astype(np.float32)
