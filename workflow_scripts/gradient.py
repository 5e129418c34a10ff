"""Measure a task's mean absolute per-exemplar gradient at the pre-trained encoder (Eq. 6)."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.measuring.gradient import measure_gradient
    from tatr.training.devices import choose
    from tatr.training.recipes.exemplars import Exemplars
    from tatr.workflow.opening import open_encoder, open_task
    from tatr.workflow.vector_saving import add_vector

    job.device = choose()
    exemplars = job.recipe(Exemplars, "task")
    encoder = open_encoder(job.one("backbone"))
    task = open_task(job.one("head"), job.one("images"), job.device)
    add_vector(job, encoder.layout.size, encoder.layout.digest, measure_gradient(encoder, task, exemplars, job.device))


STEP = Step(
    run,
    kind="gradient",
    reads={"backbone": "backbone", "head": "head", "images": "images"},
    content="vector.zarr",
    example="python workflow_scripts/gradient.py --backbone results/backbone/b/manifest.json "
    "--head results/head/cars/manifest.json --images results/images/cars/manifest.json "
    '--settings \'{"count": 128, "seed": 0}\' --output results/gradient/cars/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
