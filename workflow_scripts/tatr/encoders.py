"""What the torch steps share: an encoder's architecture and parameters, a task's head and images, and encoding."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tatr import clip
from tatr.architecture import Architecture
from tatr.checkpoints import Checkpoint, load_tensors
from tatr.errors import TatrError
from tatr.image_store import StoredImages, open_images, read_labels
from tatr.layout import Layout
from tatr.manifest import Artefact

PRECISIONS = ("fp32", "bf16")


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


def batches(images: StoredImages, size: int) -> Iterator[np.ndarray]:
    """All images in order, uint8 [≤ size, H, W, 3] at a time; while one batch is used the next one is read."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(lambda: images[:size])
        for start in range(0, len(images), size):
            batch = following.result()
            following = reader.submit(lambda start: images[start : start + size], start + size)
            yield batch


def check_precision(precision: str) -> None:
    """Raise unless images can be encoded in it."""
    if precision not in PRECISIONS:
        raise TatrError(f"precision = {precision!r}: expected one of {', '.join(PRECISIONS)}")


def encode(
    parameters: clip.Parameters,
    pixels: Tensor,
    architecture: Architecture,
    precision: str = "fp32",
    *,
    checkpointing: bool = False,
) -> Tensor:
    """Image features, float32 [B, D], not normalised, of normalised pixels [B, 3, H, W].

    In "bf16" torch's autocast computes convolutions, matrix products and attention in bfloat16, inside the encoder
    alone. Parameters, their gradients and all that is computed from the features are float32 in either case.
    """
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bf16"):
        features = clip.image_features(parameters, pixels, architecture, checkpointing=checkpointing)
    return features.float()
