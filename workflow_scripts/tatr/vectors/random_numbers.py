"""Random numbers that belong to entries: the same for any block size, any number of threads and any further task."""

import numpy as np


def of_entries(block: slice, task: int, seed: int) -> np.ndarray:
    """A random number for each entry of a block, uint64, uniform over all 64 bits.

    Task k has a PCG64 generator of its own, seeded with (seed, k), of which entry n has the n-th number.

    Args:
        block: of the flat vector.
        task: k, from 0.
        seed: of all tasks.
    """
    # Raw output of a bit generator is the same under every version of NumPy; that of `Generator` methods need not be.
    generator = np.random.PCG64(np.random.SeedSequence([seed, task])).advance(block.start)
    numbers: np.ndarray = generator.random_raw(block.stop - block.start)
    return numbers
