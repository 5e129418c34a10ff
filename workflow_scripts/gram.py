"""Measure the Gram matrices of the inputs of every linear map of a task's fine-tuned encoder; no label is read."""

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr import clip
    from tatr.checkpoints import Checkpoint
    from tatr.devices import choose
    from tatr.encoders import Encoder
    from tatr.exemplars import draw_exemplars, read_exemplars
    from tatr.gram_measuring import input_grams
    from tatr.grams import gram_layout
    from tatr.image_store import open_images
    from tatr.store import write_vector
    from tatr.vector import recut

    job.device = choose()
    encoder = Encoder.of(job.one("pretrained"))
    finetuned = Checkpoint(job.one("finetuned") / "encoder.safetensors", encoder.layout)
    path = job.one("images") / "images.zarr"
    images = open_images(path, "train")
    chosen = draw_exemplars(len(images), job.settings["count"], job.settings["seed"], str(path))
    grams = input_grams(
        encoder.architecture,
        clip.to_tensors(encoder.layout.unflatten(finetuned[0 : encoder.layout.size]), job.device),
        read_exemplars(images, chosen),
        job.device,
    )
    layout = gram_layout(encoder.layout)
    layout.check_names(grams, "the linear maps that were watched")
    layout.save(job.folder / "layout.json")
    job.add_file("layout.json")
    parts = recut((grams.pop(parameter.name).cpu().numpy() for parameter in layout.parameters), layout.size)
    job.add("vector.zarr", write_vector(job.folder / "vector.zarr", layout.size, layout.digest, parts))


if __name__ == "__main__":
    command(
        run,
        kind="gram",
        reads={"pretrained": "backbone", "finetuned": ("finetune", "checkpoint"), "images": "images"},
        example="python workflow_scripts/gram.py --pretrained results/backbone/b/manifest.json "
        "--finetuned results/finetune/cars/manifest.json --images results/images/cars/manifest.json "
        '--settings \'{"task": "cars", "count": 256, "seed": 0}\' --output results/gram/cars/manifest.json',
    )
