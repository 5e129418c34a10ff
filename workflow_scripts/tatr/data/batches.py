"""Images of a store in batches, one after another, read ahead."""

from collections.abc import Iterator
from contextlib import closing

from torch import Tensor

from tatr.data.image_store import StoredImages
from tatr.data.read_ahead import read_ahead


def batches(images: StoredImages, size: int, device: str = "cpu") -> Iterator[Tensor]:
    """All images in order, uint8 [≤ size, H, W, 3] at a time, on a device."""
    parts = (slice(start, start + size) for start in range(0, len(images), size))
    with closing(read_ahead(lambda part: (images[part],), parts, device)) as found:
        for _, (batch,) in found:
            yield batch
