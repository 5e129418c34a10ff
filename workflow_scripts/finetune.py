"""Fine-tune the image encoder on one task; the head stays frozen."""

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr.checkpoints import save_tensors
    from tatr.devices import choose
    from tatr.encoders import Encoder, Task
    from tatr.finetuning import Recipe, finetune

    job.device = choose()
    encoder = Encoder.of(job.one("pretrained"))
    task = Task.of(job.one("head"), job.one("images"), job.device)
    tensors = finetune(encoder, task, Recipe(**job.settings), job.device)
    encoder.layout.flatten(tensors, f"the model fine-tuned on {task.name}")  # refuses NaN before anything is kept
    save_tensors(tensors, job.folder / "encoder.safetensors")
    job.add_file("encoder.safetensors")


if __name__ == "__main__":
    command(
        run,
        kind="finetune",
        reads={"pretrained": "backbone", "head": "head", "images": "images"},
        example="python workflow_scripts/finetune.py --pretrained results/backbone/b/manifest.json "
        "--head results/head/cars/manifest.json --images results/images/cars/manifest.json "
        "--settings recipe.json --output results/finetune/cars/manifest.json",
    )
