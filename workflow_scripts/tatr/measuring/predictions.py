"""What a model answered, image by image: all that accuracies, intervals and comparisons are computed from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tatr.errors import REPAIR, TatrError
from tatr.weights.encoder_file import load_tensors
from tatr.weights.safetensors_file import write_safetensors

FILE = "predictions.safetensors"
"""In an evaluation."""

_TYPES = {"predicted": ("I32", "<i4"), "labels": ("I32", "<i4"), "losses": ("F32", "<f4")}


@dataclass(frozen=True)
class Predictions:
    """Of one task's test images, in the order of its image store, without those that could not be decoded."""

    predicted: np.ndarray
    """The most probable class, int32 [n]."""
    labels: np.ndarray
    """The right class, int32 [n]."""
    losses: np.ndarray
    """Cross-entropy in nats, float32 [n]."""

    @classmethod
    def joined(cls, parts: Iterable[tuple[np.ndarray, np.ndarray]], labels: np.ndarray) -> "Predictions":
        """Of batches of (predicted, losses), in order, and all labels."""
        predicted, losses = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return cls(predicted.astype(np.int32), labels.astype(np.int32), losses.astype(np.float32))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> np.ndarray:
        """Which images are classified correctly, bool [n]."""
        return self.predicted == self.labels


def save_predictions(by_task: Mapping[str, Predictions], path: Path) -> str:
    """Write the predictions of all tasks as one safetensors file; its SHA-256."""
    arrays = {f"{task}/{name}": (name, getattr(its, name)) for task, its in sorted(by_task.items()) for name in _TYPES}
    shapes = {key: (_TYPES[name][0], array.shape) for key, (name, array) in arrays.items()}
    return write_safetensors(path, shapes, (array.astype(_TYPES[name][1]) for name, array in arrays.values()))


def load_predictions(path: Path) -> dict[str, Predictions]:
    """Read what `save_predictions` wrote, per task.

    Raises:
        TatrError: the file is missing, damaged, or holds something else.
    """
    tensors = load_tensors(path)
    found = {}
    for task in dict.fromkeys(key.rpartition("/")[0] for key in tensors):
        arrays = [tensors.get(f"{task}/{name}") for name in _TYPES]
        if any(array is None or array.shape != tensors[f"{task}/labels"].shape for array in arrays):
            raise TatrError(f"{path}: holds no predictions of '{task}'; {REPAIR}")
        found[task] = Predictions(*arrays)  # type: ignore[arg-type]
    return found
