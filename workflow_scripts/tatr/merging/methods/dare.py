"""DARE: drop entries of the task vectors at random, rescale the rest, sum."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, weighted
from tatr.vectors.random_numbers import of_entries
from tatr.vectors.vector import Vector, computed


@method("DARE", coefficient=0.3)
def dare(
    task_vectors: Sequence[Vector],
    weights: Weights = None,
    *,
    drop: Annotated[float, Interval(ge=0, lt=1), "probability that an entry of a task vector is dropped"] = 0.9,
    rescale: Annotated[bool, "divide the entries that stay by 1 − drop"] = True,
    seed: Annotated[int, Interval(ge=0), "of the random numbers"] = 0,
) -> Vector:
    """v = Σ_k Δ_k ⊙ b_k / (1 − drop), with independent b_k ∈ {0, 1} that are 0 with probability `drop`.

    Source: Yu et al. 2024, "Language models are super Mario: Absorbing abilities from homologous models as a free
    lunch". DARE prepares task vectors for another merge, here Task Arithmetic.

    Rescaling leaves every entry's expectation as it was, so the expectation of v is Task Arithmetic's v; the variance
    of an entry is drop/(1 − drop) · Σ_k Δ_k². With `drop` 0 this is Task Arithmetic. `rescale: false` is what the
    authors compare with as DropOnly.

    Defaults: 0.9 is the rate of the authors' main result and of their examples, which are single language models; they
    find it harmless where updates stay within about 0.005. For merges their code's default is 0.1 and its example for
    large models 0.2, and what is lost grows with the variance above: tune `drop`. λ = 0.3 is Task Arithmetic's.
    Random numbers: task k has a PCG64 generator of its own, seeded with (seed, k), and entry n is decided by its n-th
    64-bit number. So v depends on the seed and on the order of tasks, but not on block sizes; report several seeds.
    Weights: w_k Δ_k takes the place of Δ_k; the same entries are dropped.
    Trust region: the mask applies to v. Everything here is done entry by entry, so masking the task vectors first
    gives the same.
    Differences from the authors' code: only the random numbers; the authors' come from one stream over all tensors.
    mergekit rescales every tensor to its former L1 norm instead of dividing by 1 − drop.
    Cost: one pass over the task vectors and one random number per entry and task; one block of each is in memory.
    """
    rows = weighted(task_vectors, weights)
    scale = np.float32(1 / (1 - drop) if rescale else 1)

    def part(block: slice) -> np.ndarray:
        total = np.zeros(block.stop - block.start, np.float32)
        for task, vector in enumerate(rows):
            np.add(total, vector[block], out=total, where=_stays(block, task, drop, seed))
        return total * scale

    return computed(part, *task_vectors)


def _stays(block: slice, task: int, drop: float, seed: int) -> np.ndarray:
    return of_entries(block, task, seed) >= np.uint64(int(drop * 2**64))
