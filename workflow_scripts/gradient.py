"""Measure a task's mean absolute per-exemplar gradient at the pre-trained encoder (Eq. 6)."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    import torch

    from tatr.clip import towers as clip
    from tatr.clip.encoder import Encoder
    from tatr.data.exemplars import draw_exemplars, read_exemplars
    from tatr.data.task import Task
    from tatr.measuring.gradient import classification_loss, mean_absolute_gradient
    from tatr.training.devices import choose
    from tatr.vectors.store import write_vector

    job.device = choose()
    encoder = Encoder.of(job.one("backbone"))
    task = Task.of(job.one("head"), job.one("images"), job.device)
    images, labels = task.split("train")
    chosen = draw_exemplars(len(images), job.settings["count"], job.settings["seed"], str(task.images))
    gradients = mean_absolute_gradient(
        classification_loss(encoder, task.head),
        clip.to_tensors(encoder.layout.unflatten(encoder.flat), job.device),
        clip.normalise(read_exemplars(images, chosen), encoder.architecture, job.device),
        torch.as_tensor(labels[chosen], device=job.device),
    )
    layout = encoder.layout
    flat = layout.flatten(gradients, f"the gradient of {task.name}")
    parts = (flat[block] for block in layout.blocks())
    job.add("vector.zarr", write_vector(job.folder / "vector.zarr", layout.size, layout.digest, parts))


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
