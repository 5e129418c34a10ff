"""Fine-tune the image encoder on one task, or on several in turn; the heads stay frozen."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.clip.encoder import Encoder
    from tatr.data.task import Task
    from tatr.training.devices import choose
    from tatr.training.finetuning import Recipe, finetune
    from tatr.training.resume import Saved
    from tatr.weights.encoder_file import save_tensors

    job.device = choose()
    encoder = Encoder.of(job.one("backbone"))
    tasks = [Task.of(head, images, job.device) for head, images in job.by_task("heads", "images")]
    recipe = Recipe(**{name: value for name, value in job.settings.items() if name != "task"})  # "task" labels it
    # One device's training is not gone on from on another: the artefact states one device.
    saved = Saved(job.saved, f"{job.key} {job.device}")
    tensors = finetune(encoder, tasks, recipe, job.device, saved, job.folder)
    of = ", ".join(task.name for task in tasks)
    encoder.layout.flatten(tensors, f"the model fine-tuned on {of}")  # refuses NaN before anything is kept
    save_tensors(tensors, job.folder / "encoder.safetensors")
    job.add_file("encoder.safetensors")


STEP = Step(
    run,
    kind="finetuning",
    reads={"backbone": "backbone", "heads": "head", "images": "images"},
    content="encoder.safetensors",
    example="python workflow_scripts/finetuning.py --backbone results/backbone/b/manifest.json "
    "--heads results/head/cars/manifest.json --images results/images/cars/manifest.json "
    "--settings recipe.json --output results/finetuning/cars/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
