"""Bring in a model that was fine-tuned elsewhere, after checking that it was fine-tuned from our pre-trained one."""

from pathlib import Path
from typing import TYPE_CHECKING

from tatr.workflow.job import Job
from tatr.workflow.step import Step

if TYPE_CHECKING:
    from tatr.weights.encoder_file import Checkpoint
    from tatr.weights.importing.provenance import Distance


def run(job: Job) -> None:
    import json
    from dataclasses import asdict

    from tatr.vectors.layout import Layout
    from tatr.weights.encoder_file import Checkpoint, save_tensors
    from tatr.weights.importing import Clip
    from tatr.weights.importing import provenance as finetuned

    pretrained, path = job.one("backbone"), _file(job)
    layout = Layout.load(pretrained / "layout.json")
    before = Checkpoint(pretrained / "encoder.safetensors", layout)
    quick_gelu = bool(json.loads((pretrained / "model.json").read_text()).get("quick_gelu", False))
    clip = Clip(path, text=False)
    finetuned.check_activation(clip, quick_gelu)
    copy, distance = _zero_shot(job, path, before, quick_gelu)
    tensors = layout.unflatten(layout.flatten(finetuned.completed(clip, before), str(path)))
    change = finetuned.of(tensors, before, str(path))
    finetuned.check_change(change, path, compared=copy is not None)
    save_tensors(tensors, job.folder / "encoder.safetensors")
    job.add_file("encoder.safetensors")
    record = {
        "format": clip.format,
        "quick_gelu": clip.quick_gelu,
        "zero_shot": None if copy is None or distance is None else {"file": copy.name, **asdict(distance)},
        "change": asdict(change),
        "from_pretrained": sorted(set(tensors) - set(clip)),
        "dropped": clip.dropped,
    }
    # No content: the same weights in another format are the same artefact.
    (job.folder / "import.json").write_text(json.dumps(record, indent=1) + "\n")


def _file(job: Job) -> Path:
    from tatr.errors import TatrError

    file = job.settings["file"]
    if job.inputs["download"]:
        return job.one("download").folder / "files" / (file or "")
    if not file:
        raise TatrError("--settings: 'file' is null; give the model's file or folder, or --download")
    path = Path(file).expanduser()
    if not path.exists():
        raise TatrError(f"{path}: no such file or folder (task {job.settings['task']}, seen from {Path.cwd()})")
    if planned := job.settings.get("fingerprint"):
        _check_unchanged(path, planned[0])
    return path


def _check_unchanged(path: Path, planned: str) -> None:
    from tatr.errors import TatrError
    from tatr.weights.fingerprint import fingerprint

    if fingerprint(path, "file") != planned:
        raise TatrError(f"{path}: has changed since the workflow was planned; run snakemake again")


def _zero_shot(
    job: Job, path: Path, pretrained: "Checkpoint", quick_gelu: bool
) -> "tuple[Path | None, Distance | None]":
    from tatr.errors import TatrError
    from tatr.weights.importing import provenance as finetuned

    given = job.settings["zero_shot"]
    copy = Path(given).expanduser() if given else finetuned.zero_shot_beside(path)
    if copy is None:
        return None, None
    if not copy.exists():
        raise TatrError(f"{copy}: no such file (zero_shot of task {job.settings['task']}, seen from {Path.cwd()})")
    return copy, finetuned.check_zero_shot(copy, pretrained, quick_gelu)


STEP = Step(
    run,
    kind="checkpoint",
    reads={"backbone": "backbone", "download": "download"},
    content="encoder.safetensors",
    example="python workflow_scripts/checkpoint.py --backbone results/backbone/b/manifest.json "
    """--settings '{"task": "cars", "file": "checkpoints/ViT-B-32/Cars/finetuned.pt", "zero_shot": null}' """
    "--output results/checkpoint/cars/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
