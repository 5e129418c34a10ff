"""Mask the least sensitive 1 − τ of the parameters: the trust region (Eq. 9)."""

import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tatr.workflow.job import Job
from tatr.workflow.step import Step

if TYPE_CHECKING:
    import numpy as np


def run(job: Job) -> None:
    from tatr.merging.mask import mask, thresholds
    from tatr.vectors.order_statistics import Histogram
    from tatr.vectors.store import StoredVector
    from tatr.vectors.vector import read
    from tatr.workflow.vector_saving import add_vector

    sensitivity = job.one("sensitivity")
    omega = StoredVector(sensitivity / "vector.zarr")
    histogram = Histogram.load(sensitivity / "histogram.npy")
    (threshold,) = thresholds(omega, [job.settings["tau"]], histogram)
    kept = 0

    def counted() -> Iterator["np.ndarray"]:
        nonlocal kept
        for part in read(mask(omega, threshold)):
            kept += int(part.sum())
            yield part

    add_vector(job, len(omega), omega.layout, counted(), bool)
    stated = threshold if math.isfinite(threshold) else None  # τ = 0 keeps everything; JSON has no infinity
    job.add_json("threshold.json", {"tau": job.settings["tau"], "threshold": stated, "kept": kept, "of": len(omega)})
    logging.getLogger("tatr").info("kept %.4f %% of the parameters", 100 * kept / len(omega))


STEP = Step(
    run,
    kind="mask",
    reads={"sensitivity": "sensitivity"},
    content="vector.zarr",
    example="python workflow_scripts/mask.py --sensitivity results/sensitivity/gradient/manifest.json "
    "--settings '{\"tau\": 0.01}' --output results/mask/tau-0.01/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
