"""A control: a trust region that knows nothing."""

from collections.abc import Sequence

import numpy as np

from tatr.merging.sensitivities import sensitivity
from tatr.vectors.vector import Vector, computed

SEED = 0
AT_ONCE = 8
"""Float32 numbers that one count of the generator gives: any slice can be drawn by itself."""


@sensitivity("random region")
def random(task_vectors: Sequence[Vector]) -> Vector:
    """Ω = a random number from [0, 1) per parameter, whatever the tasks.

    Its trust region leaves out a random share τ of the parameters: what a sensitivity must beat. The numbers are
    Philox's (Salmon et al. 2011), the same in every run.
    """

    def part(block: slice) -> np.ndarray:
        before = block.start % AT_ONCE
        rng = np.random.Generator(np.random.Philox(key=SEED, counter=block.start // AT_ONCE))
        drawn: np.ndarray = rng.random(before + block.stop - block.start, np.float32)
        return drawn[before:]

    return computed(part, *task_vectors)
