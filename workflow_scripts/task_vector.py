"""Subtract the pre-trained encoder from a fine-tuned one: Δ = θ − θ_pre."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.merging.task_vector import Norm, task_vector
    from tatr.vectors.layout import Layout
    from tatr.vectors.vector import read
    from tatr.weights.encoder_file import EncoderFile
    from tatr.workflow.vector_saving import add_vector

    pretrained = job.one("backbone")
    layout = Layout.load(pretrained / "layout.json")
    before = EncoderFile(pretrained / "encoder.safetensors", layout)
    after = EncoderFile(job.one("finetuned") / "encoder.safetensors", layout)
    norm = Norm()
    add_vector(job, layout.size, layout.digest, norm.of(read(task_vector(after, before))))
    job.add_json("norm.json", {"norm": norm.value})


STEP = Step(
    run,
    kind="task_vector",
    reads={"backbone": "backbone", "finetuned": ("finetuning", "checkpoint")},
    content="vector.zarr",
    example="python workflow_scripts/task_vector.py --backbone results/backbone/b/manifest.json "
    "--finetuned results/finetuning/cars/manifest.json --output results/task_vector/cars/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
