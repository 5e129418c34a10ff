"""Import a model that was fine-tuned elsewhere, after checking that it was fine-tuned from our pre-trained one."""

from pathlib import Path

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    import json

    from tatr.vectors.layout import Layout
    from tatr.weights.encoder_file import EncoderFile, save_tensors
    from tatr.weights.importing.finetuned import read_finetuned

    backbone, path = job.one("backbone"), _file(job)
    pretrained = EncoderFile(backbone / "encoder.safetensors", Layout.load(backbone / "layout.json"))
    quick_gelu = bool(json.loads((backbone / "model.json").read_text(encoding="utf-8")).get("quick_gelu", False))
    tensors, record = read_finetuned(path, _zero_shot(job, path), pretrained, quick_gelu)
    save_tensors(tensors, job.folder / "encoder.safetensors")
    job.add_file("encoder.safetensors")
    # No content: the same weights in another format are the same artefact.
    (job.folder / "import.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _file(job: Job) -> Path:
    from tatr.errors import TatrError

    file = job.settings["file"]
    if job.inputs["download"]:
        return job.one("download").files("files") / (file or "")
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


def _zero_shot(job: Job, path: Path) -> Path | None:
    from tatr.errors import TatrError
    from tatr.weights.importing.provenance import zero_shot_copy_of

    given = job.settings["zero_shot"]
    copy = Path(given).expanduser() if given else zero_shot_copy_of(path)
    if copy is not None and not copy.exists():
        raise TatrError(f"{copy}: no such file (zero_shot of task {job.settings['task']}, seen from {Path.cwd()})")
    return copy


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
