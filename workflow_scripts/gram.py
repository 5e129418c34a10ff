"""Measure the Gram matrices of the inputs of every linear map of a task's fine-tuned encoder; no label is read."""

from tatr.workflow.command import Job, command


def run(job: Job) -> None:
    from tatr.clip import towers as clip
    from tatr.clip.encoder import Encoder
    from tatr.data.exemplars import draw_exemplars, read_exemplars
    from tatr.data.image_store import open_images
    from tatr.measuring.gram import input_grams
    from tatr.merging.linear_maps import gram_layout
    from tatr.training.devices import choose
    from tatr.vectors.store import write_vector
    from tatr.vectors.vector import recut
    from tatr.weights.encoder_file import EncoderFile

    job.device = choose()
    encoder = Encoder.of(job.one("backbone"))
    finetuned = EncoderFile(job.one("finetuned") / "encoder.safetensors", encoder.layout)
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
        reads={"backbone": "backbone", "finetuned": ("finetuning", "checkpoint"), "images": "images"},
        example="python workflow_scripts/gram.py --backbone results/backbone/b/manifest.json "
        "--finetuned results/finetuning/cars/manifest.json --images results/images/cars/manifest.json "
        '--settings \'{"task": "cars", "count": 256, "seed": 0}\' --output results/gram/cars/manifest.json',
    )
