"""Measure a task's mean gradient at the pre-trained encoder, with its signs (∇L_j, Table 6), over n exemplars."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.measuring.signed_gradient import measure_signed_gradient
    from tatr.training.devices import choose
    from tatr.training.recipes.exemplars import Exemplars
    from tatr.workflow.opening import open_encoder, open_task
    from tatr.workflow.vector_saving import add_vector

    job.device = choose()
    exemplars = job.recipe(Exemplars, "task")
    encoder = open_encoder(job.one("backbone"))
    task = open_task(job.one("head"), job.one("images"), job.device)
    means = measure_signed_gradient(encoder, task, exemplars, job.device)
    add_vector(job, encoder.layout.size, encoder.layout.digest, means)


STEP = Step(
    run,
    kind="signed_gradient",
    reads={"backbone": "backbone", "head": "head", "images": "images"},
    content="vector.zarr",
    example="python workflow_scripts/signed_gradient.py --backbone results/backbone/b/manifest.json "
    "--head results/head/cars/manifest.json --images results/images/cars/manifest.json "
    '--settings \'{"task": "cars", "count": 128, "seed": 0}\' --output results/signed_gradient/cars/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
