"""One task as the torch steps see it: its frozen head and its decoded images."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from tatr.data.image_store import StoredImages, open_images, read_labels
from tatr.errors import TatrError


@dataclass(frozen=True)
class Task:
    """One task as the torch steps see it: its frozen head and its decoded images, which stay on disk."""

    name: str
    head: Tensor
    """Zero-shot classifier [C, D], exp(logit scale) included."""
    images: Path
    skipped: int = 0
    """Test images that could not be decoded, and so are not among those in the store."""

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
