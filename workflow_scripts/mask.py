"""Mask the least sensitive 1 − τ of the parameters, or those below a stated threshold: the trust region (Eq. 9)."""

import logging
import math

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.merging.mask import end_of_region, mask
    from tatr.vectors.store import StoredVector
    from tatr.vectors.vector import read
    from tatr.workflow.vector_saving import add_vector

    omega = StoredVector(job.one("sensitivity") / "vector.zarr")
    stated = job.settings.get("threshold")
    tau = job.settings["tau"] if stated is None else None
    epsilon, kept = end_of_region(omega, tau, stated)
    add_vector(job, len(omega), omega.layout, read(mask(omega, epsilon)), bool)
    finite = epsilon if math.isfinite(epsilon) else None  # τ = 0 keeps everything; JSON has no infinity
    job.add_json("threshold.json", {"tau": tau, "threshold": finite, "kept": kept, "of": len(omega)})
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
