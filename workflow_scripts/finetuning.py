"""Fine-tune the image encoder on one task, or on several in turn; the heads stay frozen."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.training.devices import choose
    from tatr.training.finetuning import finetune
    from tatr.training.recipes.fine_tuning import FineTuning
    from tatr.training.resume import Saved
    from tatr.weights.encoder_file import save_tensors
    from tatr.workflow.opening import open_encoder, open_task

    job.device = choose()
    recipe = job.recipe(FineTuning, "task")  # "task" labels it
    encoder = open_encoder(job.one("backbone"))
    tasks = [open_task(head, images, job.device) for head, images in job.by_task("heads", "images")]
    # A training that began on one device does not resume on another: the artefact states one device.
    saved = Saved(job.saved, f"{job.key} {job.device}")
    tensors = finetune(encoder, tasks, recipe, job.device, saved, job.folder)
    names = ", ".join(task.name for task in tasks)
    encoder.layout.flatten(tensors, f"the model fine-tuned on {names}")  # refuses NaN before anything is kept
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
