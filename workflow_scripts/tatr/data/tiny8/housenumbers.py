"""House numbers: the middle digit counts, its neighbours are cut off by the frame (as SVHN)."""

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tatr.data.tiny8.canvas import WIDE, any_colour, contrasting_pair, ground, lookup, photograph, pose

_DIGITS = {str(digit): digit for digit in range(10)}


@functools.lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that no machine's installed fonts matter."""
    return ImageFont.load_default(size)


def _stencil(rng: np.random.Generator, digit: int) -> Image.Image:
    """A mask `[WIDE, WIDE]` of the number: sheared, stretched, light or bold."""
    size = int(rng.integers(20, 26)) * 4
    weight = int(rng.integers(0, 5))
    mask = Image.new("L", (WIDE, WIDE))
    pen = ImageDraw.Draw(mask)
    advance = size * rng.uniform(0.6, 0.68) + 2 * weight
    centre = WIDE / 2 + rng.uniform(-5, 5)
    shown = {0: digit, -1: rng.integers(10), 1: rng.integers(10)}
    for place, value in shown.items():
        if place == 0 or rng.uniform() < 0.7:
            spot = (centre + place * advance, WIDE / 2 + rng.uniform(-3, 3))
            pen.text(spot, str(value), fill=255, font=_font(size), anchor="mm", stroke_width=weight)
    shear, stretch = rng.uniform(-0.18, 0.18), rng.uniform(0.9, 1.1)
    tilt = rng.uniform(-0.1, 0.1)
    half = WIDE / 2
    matrix = (stretch, shear, half * (1 - stretch - shear), tilt, 1.0, -half * tilt)
    return mask.transform(mask.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def draw(classname: str, rng: np.random.Generator, split: str = "train") -> NDArray[np.uint8]:
    """One house number, uint8 `[32, 32, 3]`. Drawn anew each time, so `split` changes nothing."""
    digit = lookup(_DIGITS, classname)
    wall, paint = contrasting_pair(rng)
    image = ground(rng, wall, mottle=14)
    if rng.uniform() < 0.5:  # the edge of a plate, a gutter or a door frame
        edge = pose(rng, image, angle=0.1, scale=(1.0, 1.0), shift=0.0)
        y = rng.choice([-1, 1]) * rng.uniform(0.8, 0.95)
        edge.line([(-1.5, y), (1.5, y)], 0.12, any_colour(rng))
    stencil = _stencil(rng, digit)
    if rng.uniform() < 0.4:  # raised digits cast a shadow
        image.paste((25, 25, 25), (3, 3), stencil.point(lambda level: level * 0.6))
    image.paste(ground(rng, paint, mottle=8), mask=stencil)
    return photograph(rng, image)
