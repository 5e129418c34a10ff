"""How a command saves the vector that it made."""

from collections.abc import Iterable

import numpy as np

from tatr.vectors.layout import blocks
from tatr.vectors.store import write_vector
from tatr.workflow.job import Job


def add_vector(
    job: Job, size: int, layout: str, values: np.ndarray | Iterable[np.ndarray], dtype: type = np.float32
) -> None:
    """Write `vector.zarr` into the job's artefact.

    Args:
        job: of the command.
        size: N, how many entries there are.
        layout: digest of the layout that the vector lies over.
        values: the whole vector [N], or its blocks in order, cut as `blocks(N)` cuts.
        dtype: float32, or bool for masks.

    Raises:
        TatrError: a value is NaN or infinite.
    """
    parts = (values[block] for block in blocks(size)) if isinstance(values, np.ndarray) else values
    job.add("vector.zarr", write_vector(job.folder / "vector.zarr", size, layout, parts, dtype))
