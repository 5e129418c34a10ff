"""How a command saves the vector that it made."""

from collections.abc import Iterable

import numpy as np

from tatr.vectors.layout import Layout
from tatr.vectors.store import write_vector
from tatr.workflow.job import Job


def add_vector(job: Job, layout: Layout, values: np.ndarray | Iterable[np.ndarray], dtype: type = np.float32) -> None:
    """Write `vector.zarr` into the job's artefact.

    Args:
        job: of the command.
        layout: that the vector lies over.
        values: the whole vector [N], or its blocks in order, cut as `layout.blocks()` cuts.
        dtype: float32, or bool for masks.

    Raises:
        TatrError: a value is NaN or infinite.
    """
    parts = (values[block] for block in layout.blocks()) if isinstance(values, np.ndarray) else values
    digest = write_vector(job.folder / "vector.zarr", layout.size, layout.digest, parts, dtype)
    job.add("vector.zarr", digest)
