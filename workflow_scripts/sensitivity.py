"""Compute the sensitivity Ω = Σ_{i≠j} |∇L_j| ⊙ |Δ_i| of a suite (Eq. 8; without gradients zero-shot, Eq. 7)."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    import numpy as np

    from tatr.errors import TatrError
    from tatr.merging.sensitivity import sensitivity
    from tatr.vectors.order_statistics import Histogram
    from tatr.vectors.store import open_vectors, write_vector

    if not job.inputs["task_vectors"]:
        raise TatrError("--task-vectors: give the manifests of the task vectors to compare")
    roles = ["task_vectors", "gradients"] if job.inputs["gradients"] else ["task_vectors"]
    ordered = list(zip(*job.by_task(*roles), strict=True))
    task_vectors = open_vectors([artefact / "vector.zarr" for artefact in ordered[0]])
    size, layout = len(task_vectors[0]), task_vectors[0].layout
    gradients = open_vectors([g / "vector.zarr" for g in ordered[1]], layout) if len(ordered) > 1 else None
    histogram = Histogram()
    parts = histogram.watch(sensitivity(task_vectors, gradients))
    job.add("vector.zarr", write_vector(job.folder / "vector.zarr", size, layout, parts))
    np.save(job.folder / "histogram.npy", histogram.counts)
    job.add_file("histogram.npy")


STEP = Step(
    run,
    kind="sensitivity",
    reads={"task_vectors": "task_vector", "gradients": "gradient"},
    content="vector.zarr",
    example="python workflow_scripts/sensitivity.py --task-vectors results/task_vector/*/manifest.json "
    "--gradients results/gradient/*/manifest.json --output results/sensitivity/gradient/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
