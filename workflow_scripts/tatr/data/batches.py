"""Images of a store in batches, one after another; the next one is read ahead."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tatr.data.image_store import StoredImages


def batches(images: StoredImages, size: int) -> Iterator[np.ndarray]:
    """All images in order, uint8 [≤ size, H, W, 3] at a time; while one batch is used the next one is read."""
    with ThreadPoolExecutor(1) as reader:
        following = reader.submit(lambda: images[:size])
        for start in range(0, len(images), size):
            batch = following.result()
            following = reader.submit(lambda start: images[start : start + size], start + size)
            yield batch
