"""Measure Gram matrices of the inputs of every linear map and norm of a task's fine-tuned encoder; no label is read."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.measuring.gram import measure_grams
    from tatr.training.devices import choose
    from tatr.training.recipes.exemplars import Exemplars
    from tatr.weights.encoder_file import EncoderFile
    from tatr.workflow.opening import open_encoder
    from tatr.workflow.vector_saving import add_vector

    job.device = choose()
    exemplars = job.recipe(Exemplars, "task")
    encoder = open_encoder(job.one("backbone"))
    finetuned = EncoderFile(job.one("finetuned") / "encoder.safetensors", encoder.layout)
    images = job.one("images") / "images.zarr"
    layout, matrices = measure_grams(encoder, finetuned, images, exemplars, job.device)
    layout.save(job.folder / "layout.json")
    job.add_file("layout.json")
    add_vector(job, layout.size, layout.digest, matrices)


STEP = Step(
    run,
    kind="gram",
    reads={"backbone": "backbone", "finetuned": ("finetuning", "checkpoint"), "images": "images"},
    content="vector.zarr",
    example="python workflow_scripts/gram.py --backbone results/backbone/b/manifest.json "
    "--finetuned results/finetuning/cars/manifest.json --images results/images/cars/manifest.json "
    '--settings \'{"task": "cars", "count": 256, "seed": 0}\' --output results/gram/cars/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
