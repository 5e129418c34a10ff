"""Task vectors: what fine-tuning changed."""

import numpy as np

from tatr.vectors.vector import Vector, mapped


def task_vector(finetuned: Vector, pretrained: Vector) -> Vector:
    """Δ = θ − θ_pre, each float32 [N], computed slice by slice on access.

    Raises:
        TatrError: the models differ in length.
    """
    return mapped(np.subtract, finetuned, pretrained)
