"""Handwritten digits: the 1,797 real ones of UCI that scikit-learn ships (as MNIST)."""

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tatr.data.tiny8.canvas import WIDE, any_colour, ground, lookup, photograph

_DIGITS = {str(digit): digit for digit in range(10)}
_SHARES = {"train": (0.0, 0.64), "validation": (0.64, 0.76), "test": (0.76, 1.0)}


@functools.lru_cache(maxsize=1)
def _collection() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images `[1797, 8, 8]`, 0 to 255, and their digits, from the installed package."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.clip(bunch.images * (255 / 16), 0, 255).astype(np.uint8)
    return images, bunch.target.astype(np.int64)


@functools.lru_cache(maxsize=64)
def sources(split: str, digit: int) -> NDArray[np.int64]:
    """The indices in the collection that a split may draw a digit from; splits share none.

    The partition does not depend on the benchmark's seed: no seed moves a test image to training.
    """
    low, high = lookup(_SHARES, split)
    _, targets = _collection()
    known = np.flatnonzero(targets == digit)
    mixed = np.random.default_rng(digit).permutation(known)
    return mixed[int(low * len(mixed)) : int(high * len(mixed))]


def _stencil(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> Image.Image:
    """The 8x8 digit as a mask `[WIDE, WIDE]`: turned, sheared, moved and resized a little."""
    large = Image.fromarray(pixels).resize((WIDE, WIDE), Image.Resampling.BICUBIC)
    large = large.point(lambda level: 2 * level - 110)  # crisp strokes in place of blurred ones
    angle, shear = rng.uniform(-0.15, 0.15, 2)
    zoom = 1 / rng.uniform(0.85, 1.0)
    across, down = zoom * rng.uniform(0.9, 1.1, 2)
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, sine + shear], [-sine, cosine]]) * (across, down)
    middle = np.array([WIDE / 2, WIDE / 2])
    offset = middle - turn @ (middle + rng.uniform(-5, 5, 2))
    matrix = (turn[0, 0], turn[0, 1], offset[0], turn[1, 0], turn[1, 1], offset[1])
    return large.transform(large.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def draw(classname: str, rng: np.random.Generator, split: str = "train") -> NDArray[np.uint8]:
    """One handwritten digit of `split`'s share, in chalk on a board, uint8 `[32, 32, 3]`."""
    digit = lookup(_DIGITS, classname)
    pixels = _collection()[0][rng.choice(sources(split, digit))]
    image = ground(rng, any_colour(rng, value=(0.05, 0.4)), mottle=8)
    ink = any_colour(rng, saturation=(0.0, 0.5), value=(0.75, 1.0))
    image.paste(ground(rng, ink, mottle=8), mask=_stencil(rng, pixels))
    return photograph(rng, image)
