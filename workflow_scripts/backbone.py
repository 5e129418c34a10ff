"""Bring a pre-trained CLIP model into the project's form: image encoder, text encoder and layout."""

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr.architecture import Architecture
    from tatr.checkpoints import load_tensors, save_tensors
    from tatr.errors import TatrError
    from tatr.manifest import file_digest

    path = job.file
    if path is None or not path.is_file():
        raise TatrError(f"--file: {path} is no file; give the model's safetensors file")
    if file_digest(path) != job.settings["weights"]:
        raise TatrError(f"{path}: is not the file that {path.parent}/manifest.json describes (its digest differs)")
    architecture = Architecture.of(job.settings["model"], str(path.parent / "model.json"))
    layout, text_layout = architecture.layout(), architecture.text_layout()
    tensors = load_tensors(path)
    visual = {name: tensor for name, tensor in tensors.items() if name.startswith("visual.")}
    text = {name: tensor for name, tensor in tensors.items() if name not in visual}
    save_tensors(layout.unflatten(layout.flatten(visual, str(path))), job.folder / "encoder.safetensors")
    save_tensors(text_layout.unflatten(text_layout.flatten(text, str(path))), job.folder / "text.safetensors")
    layout.save(job.folder / "layout.json")
    for name in ("encoder.safetensors", "text.safetensors", "layout.json"):
        job.add_file(name)
    job.add_json("model.json", job.settings["model"])


if __name__ == "__main__":
    command(
        run,
        kind="backbone",
        reads={},
        example="python workflow_scripts/backbone.py --file backbones/tiny-clip/model.safetensors "
        "--settings settings.json --output results/backbone/b/manifest.json",
    )
