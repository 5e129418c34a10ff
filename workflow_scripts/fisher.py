"""Measure the diagonal Fisher information of a task at its own fine-tuned encoder, over all labels, per exemplar."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.measuring.fisher import measure_fisher
    from tatr.training.devices import choose
    from tatr.training.recipes.exemplars import Exemplars
    from tatr.weights.encoder_file import EncoderFile
    from tatr.workflow.opening import open_encoder, open_task
    from tatr.workflow.vector_saving import add_vector

    job.device = choose()
    exemplars = job.recipe(Exemplars, "task")
    encoder = open_encoder(job.one("backbone"))
    finetuned = EncoderFile(job.one("finetuned") / "encoder.safetensors", encoder.layout)
    task = open_task(job.one("head"), job.one("images"), job.device)
    add_vector(
        job, encoder.layout.size, encoder.layout.digest, measure_fisher(encoder, finetuned, task, exemplars, job.device)
    )


STEP = Step(
    run,
    kind="fisher",
    reads={"backbone": "backbone", "finetuned": ("finetuning", "checkpoint"), "head": "head", "images": "images"},
    content="vector.zarr",
    example="python workflow_scripts/fisher.py --backbone results/backbone/b/manifest.json "
    "--finetuned results/finetuning/cars/manifest.json --head results/head/cars/manifest.json "
    "--images results/images/cars/manifest.json "
    '--settings \'{"task": "cars", "count": 256, "seed": 0}\' --output results/fisher/cars/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
