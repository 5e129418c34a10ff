"""From artefacts to what the torch steps compute with."""

import json

import torch

from tatr.clip.encoder import Encoder
from tatr.data.checks import check_head_names
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.weights.encoder_file import load_tensors
from tatr.workflow.artefact import Artefact


def open_encoder(backbone: Artefact) -> Encoder:
    """The image encoder θ_pre of a backbone."""
    return Encoder.load(backbone / "model.json", backbone / "encoder.safetensors")


def open_task(head: Artefact, images: Artefact, device: str) -> Task:
    """A head and the images it classifies.

    Raises:
        TatrError: head and images are of different tasks, or of other classes or another order of them, as far as the
            images' source names its classes. What prompts call a class is the head's alone.
    """
    task, other = (artefact.manifest.settings["task"] for artefact in (head, images))
    if task != other:
        raise TatrError(f"{head.folder} is of task '{task}', but {images.folder} of '{other}'; give both of one task")
    of_head, of_images = (
        json.loads((artefact / "classnames.json").read_text(encoding="utf-8")) for artefact in (head, images)
    )
    settings = {"task": task, "source_classnames": images.manifest.settings.get("source_classnames")}
    check_head_names(of_images, of_head, settings, str(images.folder))
    weight = torch.tensor(load_tensors(head / "head.safetensors")["weight"], device=device)
    return Task(task, weight, images / "images.zarr", _skipped(images))


def _skipped(images: Artefact) -> int:
    if "images.json" not in images.manifest.content:
        return 0
    return len(json.loads((images / "images.json").read_text(encoding="utf-8")).get("skipped", {}).get("test", ()))
