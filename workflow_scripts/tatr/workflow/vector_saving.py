"""How a command saves the vector that it made."""

from collections.abc import Iterable

import numpy as np

from tatr.vectors.layout import blocks
from tatr.vectors.store import write_vector
from tatr.workflow.job import Job

VECTOR = "vector.zarr"
"""The store of an artefact that holds one vector."""


def mean_over(count: int) -> str:
    """The store, in a gradient's artefact, of the mean over so many exemplars."""
    return f"means/n-{count}.zarr"


def add_vector(
    job: Job,
    size: int,
    layout: str,
    values: np.ndarray | Iterable[np.ndarray],
    dtype: type = np.float32,
    name: str = VECTOR,
) -> None:
    """Write a vector into the job's artefact.

    Args:
        job: of the command.
        size: N, how many entries there are.
        layout: digest of the layout that the vector lies over.
        values: the whole vector [N], or its blocks in order, cut as `blocks(N)` cuts.
        dtype: float32, or bool for masks.
        name: of the store.

    Raises:
        TatrError: a value is NaN or infinite.
    """
    parts = (values[block] for block in blocks(size)) if isinstance(values, np.ndarray) else values
    job.add(name, write_vector(job.folder / name, size, layout, parts, dtype))
