"""A merge is a direction: a method's output over the task vectors, restricted to the trust region if there is one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.methods import load
from tatr.vector import Vector, read


def direction(
    method: str, task_vectors: Sequence[Vector], mask: Vector | None = None, settings: Mapping[str, Any] | None = None
) -> Iterator[np.ndarray]:
    """Blocks of the merged direction v, float32; the merged model is θ_pre + λ·v.

    Args:
        method: a name of `tatr.methods`.
        task_vectors: Δ_k, each [N].
        mask: True where the trust region is, bool [N]; None for no restriction.
        settings: the method's own.

    Raises:
        TatrError: vectors of different lengths, none at all, or settings the method does not take.
    """
    if not task_vectors:
        raise TatrError(f"{method}: no task vectors to merge")
    if len({len(vector) for vector in (*task_vectors, *([] if mask is None else [mask]))}) > 1:
        raise TatrError(f"{method}: task vectors and mask differ in length; they belong to different encoders")
    chosen, settings = load(method), settings or {}
    if unknown := settings.keys() - chosen.parameters.keys():
        raise TatrError(f"{method}: takes no setting {', '.join(sorted(unknown))}")
    if mask is None:
        yield from chosen.blocks(task_vectors, **settings)
    elif chosen.trust_region == "before":
        yield from chosen.blocks([Masked(vector, mask) for vector in task_vectors], **settings)
    else:
        parts = chosen.blocks(task_vectors, **settings)
        yield from (part * kept for part, kept in zip(parts, read(mask), strict=True))


class Masked:
    """A vector that is zero outside the trust region."""

    def __init__(self, vector: Vector, mask: Vector) -> None:
        """Restrict `vector` [N] to where `mask`, bool [N], is True."""
        self.vector, self.mask = vector, mask

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        return self.vector[block] * self.mask[block]
