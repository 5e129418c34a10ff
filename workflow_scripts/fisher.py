"""Measure the diagonal Fisher information of a task at its own fine-tuned encoder, over all labels, per exemplar."""

from tatr.workflow.command import Job, command


def run(job: Job) -> None:
    from tatr.clip import towers as clip
    from tatr.clip.encoder import Encoder
    from tatr.data.exemplars import draw_exemplars, read_exemplars
    from tatr.data.task import Task
    from tatr.measuring.fisher import encoder_features, fisher_information, head_log_probabilities
    from tatr.training.devices import choose
    from tatr.vectors.store import write_vector
    from tatr.weights.encoder_file import EncoderFile

    job.device = choose()
    encoder = Encoder.of(job.one("backbone"))
    architecture, layout = encoder.architecture, encoder.layout
    finetuned = EncoderFile(job.one("finetuned") / "encoder.safetensors", layout)
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
        reads={"backbone": "backbone", "finetuned": ("finetuning", "checkpoint"), "head": "head", "images": "images"},
        example="python workflow_scripts/fisher.py --backbone results/backbone/b/manifest.json "
        "--finetuned results/finetuning/cars/manifest.json --head results/head/cars/manifest.json "
        "--images results/images/cars/manifest.json "
        '--settings \'{"task": "cars", "count": 256, "seed": 0}\' --output results/fisher/cars/manifest.json',
    )
