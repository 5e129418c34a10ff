"""Bring a pre-trained CLIP model into the project's form: image encoder, text encoder and layout."""

from pathlib import Path
from typing import TYPE_CHECKING

from tatr.workflow.job import Job
from tatr.workflow.step import Step

if TYPE_CHECKING:
    from tatr.clip.backbone import Known


def run(job: Job) -> None:
    from tatr.clip import backbone as backbones
    from tatr.clip.architecture import Architecture
    from tatr.weights.encoder_file import load_tensors, save_tensors
    from tatr.weights.importing import read_clip

    path, known = _downloaded(job) if "weights" in job.settings else _local(job)
    weights = job.settings.get("weights", str(path))
    if name := job.settings.get("name"):
        backbones.check_activation(job.settings["model"], known, name, weights)
    model = backbones.complete_config(job.settings["model"], known, job.settings, weights)
    architecture = Architecture.of(model, name or str(path.parent / "model.json"))
    tensors = load_tensors(path) if "digest" in job.settings else read_clip(path)
    visual, text = backbones.split_towers(tensors, architecture, str(path))
    save_tensors(visual, job.folder / "encoder.safetensors")
    save_tensors(text, job.folder / "text.safetensors")
    architecture.layout().save(job.folder / "layout.json")
    for file in ("encoder.safetensors", "text.safetensors", "layout.json"):
        job.add_file(file)
    job.add_json("model.json", model)


def _downloaded(job: Job) -> "tuple[Path, Known]":
    """Weights that open_clip offers, which another step has downloaded."""
    from tatr.clip import backbone as backbones
    from tatr.errors import TatrError

    name, tag, downloaded = job.settings["name"], job.settings["weights"], job.one("download")
    stated = {key: downloaded.manifest.settings.get(key) for key in ("open_clip", "tag")}
    if stated != {"open_clip": name, "tag": tag}:
        raise TatrError(f"--download: {downloaded.folder} holds {stated}, expected the weights '{tag}' of {name}")
    return downloaded.files("files"), backbones.of_tag(name, tag)


def _local(job: Job) -> "tuple[Path, Known]":
    """Weights on disk: those of a folder of `backbones/`, or a file or folder from elsewhere."""
    from tatr.clip import backbone as backbones
    from tatr.digests import file_digest
    from tatr.errors import TatrError
    from tatr.weights.fingerprint import fingerprint
    from tatr.weights.importing import facts

    path = job.file
    if "digest" not in job.settings:
        if path is None or not path.exists():
            raise TatrError(f"--file: there is no {path}; give the model's file of weights, or a folder that holds it")
        if fingerprint(path, "--file") != job.settings["fingerprint"]:
            raise TatrError(f"{path}: has changed since the workflow was planned; run snakemake again")
        return path, backbones.of_file(path, facts(path))
    if path is None or not path.is_file():
        raise TatrError(f"--file: {path} is no file; give the model's safetensors file")
    if file_digest(path) != job.settings["digest"]:
        raise TatrError(f"{path}: is not the file that {path.parent}/manifest.json describes (its digest differs)")
    return path, backbones.Known("model.json")


STEP = Step(
    run,
    kind="backbone",
    reads={"download": "download"},
    content="encoder.safetensors",
    example="python workflow_scripts/backbone.py --file backbones/tiny-clip/model.safetensors "
    "--settings settings.json --output results/backbone/b/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
