"""What the torch steps read: an encoder's architecture and layout, its parameters, a task's head and images."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tatr.architecture import Architecture
from tatr.checkpoints import Checkpoint, load_tensors
from tatr.errors import TatrError
from tatr.image_store import read_images, read_split
from tatr.layout import Layout
from tatr.manifest import Artefact


@dataclass(frozen=True)
class Encoder:
    """The pre-trained image encoder θ_pre."""

    architecture: Architecture
    layout: Layout
    flat: np.ndarray
    """θ_pre, float32 [N]."""

    @classmethod
    def of(cls, pretrained: Artefact) -> "Encoder":
        """Read a `pretrained` artefact."""
        architecture = Architecture.of(json.loads((pretrained / "model.json").read_text()), "model.json")
        layout = architecture.layout()
        return cls(architecture, layout, Checkpoint(pretrained / "encoder.safetensors", layout)[0 : layout.size])


@dataclass(frozen=True)
class Task:
    """One task as the torch steps see it: its frozen head and its decoded images."""

    name: str
    head: Tensor
    """Zero-shot classifier [C, D], exp(logit scale) included."""
    images: Path

    @classmethod
    def of(cls, head: Artefact, images: Artefact, device: str) -> "Task":
        """Read a head and the images it classifies.

        Raises:
            TatrError: head and images are of different tasks or list different classes.
        """
        task, other = (artefact.manifest.settings["task"] for artefact in (head, images))
        names = [json.loads((artefact / "classnames.json").read_text()) for artefact in (head, images)]
        if task != other:
            raise TatrError(
                f"{head.folder} is of task '{task}', but {images.folder} of '{other}'; give both of one task"
            )
        if names[0] != names[1]:
            differing = [f"{a!r} / {b!r}" for a, b in zip(*names, strict=False) if a != b]
            raise TatrError(
                f"{head.folder} and {images.folder}: classes differ ({len(names[0])} / {len(names[1])} of them"
                f"{', first: ' + differing[0] if differing else ''}); head and images must be of one task"
            )
        weight = torch.tensor(load_tensors(head / "head.safetensors")["weight"], device=device)
        return cls(task, weight, images / "images.zarr")

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 [n, H, W, 3] and labels int64 [n] of a split."""
        images, labels = read_split(self.images, name)
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.head):
            raise TatrError(
                f"{self.images}: {name} labels run from {labels.min()} to {labels.max()}, "
                f"but the head has {len(self.head)} classes"
            )
        return images, labels

    def unlabelled(self, name: str) -> np.ndarray:
        """Images uint8 [n, H, W, 3] of a split; its labels are not read."""
        images = read_images(self.images, name)
        if not len(images):
            raise TatrError(f"{self.images}: the {name} split is empty")
        return images
