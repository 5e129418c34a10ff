"""Measure the diagonal Fisher information of a task at its own fine-tuned encoder, over all labels, per exemplar."""

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr import clip
    from tatr.checkpoints import Checkpoint
    from tatr.devices import choose
    from tatr.encoders import Encoder, Task
    from tatr.exemplars import draw_exemplars, read_exemplars
    from tatr.fisher_information import encoder_features, fisher_information, head_log_probabilities
    from tatr.store import write_vector

    job.device = choose()
    encoder = Encoder.of(job.one("pretrained"))
    architecture, layout = encoder.architecture, encoder.layout
    finetuned = Checkpoint(job.one("finetuned") / "encoder.safetensors", layout)
    task = Task.of(job.one("head"), job.one("images"), job.device)
    images = task.unlabelled("train")
    chosen = draw_exemplars(len(images), job.settings["count"], job.settings["seed"], str(task.images))
    information = fisher_information(
        encoder_features(architecture),
        head_log_probabilities(task.head),
        clip.to_tensors(layout.unflatten(finetuned[0 : layout.size]), job.device),
        clip.normalise(read_exemplars(images, chosen), architecture, job.device),
    )
    flat = layout.flatten(information, f"the Fisher information of {task.name}")
    parts = (flat[block] for block in layout.blocks())
    job.add("vector.zarr", write_vector(job.folder / "vector.zarr", layout.size, layout.digest, parts))


if __name__ == "__main__":
    command(
        run,
        kind="fisher",
        reads={"pretrained": "backbone", "finetuned": ("finetune", "checkpoint"), "head": "head", "images": "images"},
        example="python workflow_scripts/fisher.py --pretrained results/backbone/b/manifest.json "
        "--finetuned results/finetune/cars/manifest.json --head results/head/cars/manifest.json "
        "--images results/images/cars/manifest.json "
        '--settings \'{"task": "cars", "count": 256, "seed": 0}\' --output results/fisher/cars/manifest.json',
    )
