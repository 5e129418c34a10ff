"""Calibrate the singular values of λ·v (SVC): what comes out is added to θ_pre with the factor 1."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.merging.calibration import calibrated
    from tatr.merging.coefficients import of_setting, per_tensor
    from tatr.vectors.layout import Layout
    from tatr.vectors.store import open_vectors
    from tatr.workflow.vector_saving import add_vector

    pairs = job.by_task("task_vectors")
    if not pairs:
        raise TatrError("--task-vectors: give the manifests of the task vectors that were merged")
    layout = Layout.load(job.one("backbone") / "layout.json")
    paths = [job.one("direction") / "vector.zarr", *(artefact / "vector.zarr" for (artefact,) in pairs)]
    direction, *task_vectors = open_vectors(paths, layout.digest)
    coefficients = per_tensor(of_setting(job.settings["coefficient"]), layout)
    parts = calibrated(direction, task_vectors, layout, coefficients, job.settings["alpha"])
    add_vector(job, layout.size, layout.digest, parts)


STEP = Step(
    run,
    kind="calibration",
    reads={"direction": "merge", "task_vectors": "task_vector", "backbone": "backbone"},
    content="vector.zarr",
    example="python workflow_scripts/calibration.py --direction results/merge/task_arithmetic/manifest.json "
    "--task-vectors results/task_vector/*/manifest.json --backbone results/backbone/b/manifest.json "
    '--settings \'{"coefficient": 0.3, "alpha": 0.125}\' --output results/calibration/svc/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
