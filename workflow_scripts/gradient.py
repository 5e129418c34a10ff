"""Measure a task's mean absolute per-exemplar gradients at the pre-trained encoder (Eq. 6), over 1, 16, … exemplars."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.measuring.gradient import measure_gradients
    from tatr.training.devices import choose
    from tatr.training.recipes.exemplars import ExemplarCounts
    from tatr.workflow.opening import open_encoder, open_task
    from tatr.workflow.vector_saving import add_vector, mean_over

    job.device = choose()
    exemplars = job.recipe(ExemplarCounts, "task")
    encoder = open_encoder(job.one("backbone"))
    task = open_task(job.one("head"), job.one("images"), job.device)
    for count, means in measure_gradients(encoder, task, exemplars, job.device):
        add_vector(job, encoder.layout.size, encoder.layout.digest, means, name=mean_over(count))


STEP = Step(
    run,
    kind="gradient",
    reads={"backbone": "backbone", "head": "head", "images": "images"},
    content="means",
    example="python workflow_scripts/gradient.py --backbone results/backbone/b/manifest.json "
    "--head results/head/cars/manifest.json --images results/images/cars/manifest.json "
    '--settings \'{"counts": [16, 128], "seed": 0}\' --output results/gradient/cars/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
