"""Gram matrices of the inputs that weights multiply: which have one, how they lie in one vector, a weight as a map.

A norm's scale is a linear map, too, of the normalised input: a diagonal one, of whose Gram matrix the diagonal counts.
"""

from dataclasses import dataclass

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector, section

TRANSPOSED = frozenset({"visual.proj"})
"""Weights used as x·W, hence [in, out]; all others are used as x·Wᵀ and are [out, …in]."""


@dataclass(frozen=True)
class Gram:
    """The Gram matrices of one task: one vector over a layout of {weight name: (in, in)}, of scales (width,)."""

    layout: Layout
    values: Vector

    @classmethod
    def over(cls, layout: Layout, values: Vector) -> "Gram":
        """Those of an encoder's linear maps and scales, known from its layout.

        Raises:
            TatrError: the number of values differs: they are of another encoder.
        """
        matrices = gram_layout(layout)
        if len(values) != matrices.size:
            raise TatrError(
                f"Gram matrices: {len(values):,} entries, but those of the encoder's weights have {matrices.size:,}; "
                "measure them again for this encoder"
            )
        return cls(matrices, values)

    def matrix(self, name: str) -> np.ndarray:
        """The Gram matrix of a linear map, float32 [in, in]; of a scale its diagonal, [width]."""
        place = next(matrix for matrix in self.layout.parameters if matrix.name == name)
        return section(self.values, slice(place.offset, place.stop)).reshape(place.shape)


def gram_layout(layout: Layout) -> Layout:
    """Where the Gram matrices of an encoder lie: of linear maps, then of scales, each in the encoder's own order."""
    maps = [parameter for parameter in layout.parameters if is_linear_map(parameter)]
    scales = [parameter for parameter in layout.parameters if is_scale(parameter)]
    shapes = {weight.name: (inputs_of(weight), inputs_of(weight)) for weight in maps}
    return Layout.of(shapes | {scale.name: scale.shape for scale in scales})


def is_linear_map(parameter: Parameter) -> bool:
    """Whether a parameter is multiplied by inputs; embeddings are added to them."""
    return len(parameter.shape) > 1 and not parameter.name.endswith("embedding")


def is_scale(parameter: Parameter) -> bool:
    """Whether a parameter is the scale of a norm: it multiplies entry by entry."""
    return len(parameter.shape) == 1 and parameter.name.endswith(".weight")


def inputs_of(weight: Parameter) -> int:
    """Length of the inputs of a linear map; those of a convolution are its windows."""
    return weight.shape[0] if weight.name in TRANSPOSED else weight.size // weight.shape[0]


def as_map(weight: Parameter, values: np.ndarray) -> np.ndarray:
    """A weight's values [size] as the matrix M [in, out] of x ↦ x·M."""
    inputs = inputs_of(weight)
    return values.reshape(inputs, -1) if weight.name in TRANSPOSED else values.reshape(-1, inputs).T


def from_map(weight: Parameter, matrix: np.ndarray) -> np.ndarray:
    """What `as_map` gave, [in, out], as the weight's values again, [size]."""
    return (matrix if weight.name in TRANSPOSED else matrix.T).reshape(-1)
