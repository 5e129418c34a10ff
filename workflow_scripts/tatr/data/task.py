"""One task as the torch steps see it: its frozen head and its decoded images."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tatr.data.image_store import StoredImages, open_images, read_labels
from tatr.errors import TatrError
from tatr.weights.encoder_file import load_tensors
from tatr.workflow.artefact import Artefact


@dataclass(frozen=True)
class Task:
    """One task as the torch steps see it: its frozen head and its decoded images, which stay on disk."""

    name: str
    head: Tensor
    """Zero-shot classifier [C, D], exp(logit scale) included."""
    images: Path
    skipped: int = 0
    """Test images that could not be decoded, and so are not among those in the store."""

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
        return cls(task, weight, images / "images.zarr", _skipped(images))

    def split(self, name: str) -> tuple[StoredImages, np.ndarray]:
        """Images [n, H, W, 3], to be read piece by piece, and labels int64 [n] of a split."""
        images, labels = open_images(self.images, name), read_labels(self.images, name)
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.head):
            raise TatrError(
                f"{self.images}: {name} labels run from {labels.min()} to {labels.max()}, "
                f"but the head has {len(self.head)} classes"
            )
        return images, labels

    def unlabelled(self, name: str) -> StoredImages:
        """Images [n, H, W, 3] of a split, to be read piece by piece; its labels are not read."""
        images = open_images(self.images, name)
        if not len(images):
            raise TatrError(f"{self.images}: the {name} split is empty")
        return images


def _skipped(images: Artefact) -> int:
    if "images.json" not in images.manifest.content:
        return 0
    return len(json.loads((images / "images.json").read_text()).get("skipped", {}).get("test", ()))
