"""Subtract the pre-trained encoder from a fine-tuned one: Δ = θ − θ_pre."""

from tatr.workflow.command import Job, command


def run(job: Job) -> None:
    from tatr.merging.task_vector import task_vector
    from tatr.vectors.layout import Layout
    from tatr.vectors.store import write_vector
    from tatr.vectors.vector import read
    from tatr.weights.encoder_file import Checkpoint

    pretrained = job.one("backbone")
    layout = Layout.load(pretrained / "layout.json")
    before = Checkpoint(pretrained / "encoder.safetensors", layout)
    after = Checkpoint(job.one("finetuned") / "encoder.safetensors", layout)
    parts = read(task_vector(after, before))
    job.add("vector.zarr", write_vector(job.folder / "vector.zarr", layout.size, layout.digest, parts))


if __name__ == "__main__":
    command(
        run,
        kind="task_vector",
        reads={"backbone": "backbone", "finetuned": ("finetuning", "checkpoint")},
        example="python workflow_scripts/task_vector.py --backbone results/backbone/b/manifest.json "
        "--finetuned results/finetuning/cars/manifest.json --output results/task_vector/cars/manifest.json",
    )
