"""Drawing helpers shared by the tasks: a pen in relative coordinates, mottled grounds, a camera.

Pictures are drawn three times too large with Pillow and reduced at the end, which smooths edges.
Coordinates run from -1 to 1 in both directions, x to the right and y down.
"""

import colorsys
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

SIZE = 32
ZOOM = 3
WIDE = SIZE * ZOOM

Colour = tuple[int, int, int]
Entry = TypeVar("Entry")

_CIRCLE = np.stack([f(np.linspace(0, 2 * math.pi, 20, endpoint=False)) for f in (np.cos, np.sin)], 1)


def lookup(table: Mapping[str, Entry], classname: str) -> Entry:
    """The entry of a class, or an error that names the classes there are."""
    try:
        return table[classname]
    except KeyError:
        known = ", ".join(sorted(table))
        raise ValueError(f"unknown class {classname!r}; this task can draw: {known}") from None


def rgb(colour: ArrayLike) -> Colour:
    """Round and clip three numbers to a colour."""
    red, green, blue = np.clip(np.asarray(colour, dtype=float), 0, 255).astype(int).tolist()
    return red, green, blue


def vary(rng: np.random.Generator, colour: Sequence[float], amount: float = 18.0) -> Colour:
    """The colour under slightly other light: each channel moves by up to `amount`."""
    return rgb(np.asarray(colour) + rng.uniform(-amount, amount, 3))


def any_colour(
    rng: np.random.Generator,
    saturation: tuple[float, float] = (0.1, 0.8),
    value: tuple[float, float] = (0.2, 0.95),
) -> Colour:
    """A colour of any hue."""
    hsv = (rng.uniform(), rng.uniform(*saturation), rng.uniform(*value))
    return rgb(255 * np.array(colorsys.hsv_to_rgb(*hsv)))


def luma(colour: Sequence[float]) -> float:
    """Perceived brightness, 0 to 255."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def contrasting_pair(rng: np.random.Generator, gap: float = 70.0) -> tuple[Colour, Colour]:
    """Two colours of any hue whose brightness differs by at least `gap`, in either order."""
    while True:
        first, second = any_colour(rng), any_colour(rng)
        if abs(luma(first) - luma(second)) >= gap:
            return first, second


def ground(rng: np.random.Generator, colour: Sequence[float], mottle: float = 14.0, cells: int = 7) -> Image.Image:
    """A drawing sheet `[WIDE, WIDE]` of one colour with smooth random mottling."""
    grey = rng.normal(0, mottle, (cells, cells, 1))
    tint = rng.normal(0, mottle / 3, (cells, cells, 3))
    sheet = np.clip(np.asarray(colour) + grey + tint, 0, 255).astype(np.uint8)
    return Image.fromarray(sheet).resize((WIDE, WIDE), Image.Resampling.BICUBIC)


class Sketch:
    """A pen on a sheet, with a pose (turn, size, position, mirroring) applied to all it draws."""

    def __init__(
        self,
        image: Image.Image,
        angle: float = 0.0,
        scale: float = 1.0,
        shift: tuple[float, float] = (0.0, 0.0),
        flip: bool = False,
    ) -> None:
        self.image = image
        self._pen = ImageDraw.Draw(image)
        cosine, sine = math.cos(angle), math.sin(angle)
        mirror = np.diag([-1.0 if flip else 1.0, 1.0])
        self._unit = scale * WIDE / 2
        self._matrix = self._unit * np.array([[cosine, -sine], [sine, cosine]]) @ mirror
        self._centre = WIDE / 2 * (1 + np.asarray(shift))

    def _pixels(self, points: ArrayLike) -> list[float]:
        return (np.asarray(points, dtype=float) @ self._matrix.T + self._centre).ravel().tolist()

    def polygon(self, points: ArrayLike, fill: Colour) -> None:
        """Fill the polygon through `points` `[n, 2]`."""
        self._pen.polygon(self._pixels(points), fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill)

    def disc(self, x: float, y: float, wide: float, fill: Colour, high: float | None = None) -> None:
        """Fill an ellipse of half width `wide` and half height `high` (a circle without it)."""
        self.polygon(_CIRCLE * (wide, wide if high is None else high) + (x, y), fill)

    def line(self, points: ArrayLike, width: float, fill: Colour) -> None:
        """Draw a line of `width` (in the same unit as coordinates) through `points` `[n, 2]`."""
        thick = max(1, round(width * self._unit))
        self._pen.line(self._pixels(points), fill=fill, width=thick, joint="curve")


def pose(
    rng: np.random.Generator,
    image: Image.Image,
    angle: float = math.pi,
    scale: tuple[float, float] = (0.75, 0.95),
    shift: float = 0.1,
    flip: bool = False,
) -> Sketch:
    """A sketch in a random pose: turned up to `angle`, moved up to `shift`, maybe mirrored."""
    return Sketch(
        image,
        angle=rng.uniform(-angle, angle),
        scale=rng.uniform(*scale),
        shift=(rng.uniform(-shift, shift), rng.uniform(-shift, shift)),
        flip=flip and bool(rng.integers(2)),
    )


def photograph(
    rng: np.random.Generator,
    image: Image.Image,
    exposure: tuple[float, float] = (0.75, 1.2),
    noise: tuple[float, float] = (2.0, 8.0),
) -> NDArray[np.uint8]:
    """Take the picture `[32, 32, 3]`: uneven light, sometimes out of focus, sensor noise."""
    if rng.uniform() < 0.3:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 1.6)))
    pixels = np.asarray(image.reduce(ZOOM), dtype=np.float32)
    light = rng.uniform(*exposure) * rng.uniform(0.93, 1.07, 3)
    slope = np.linspace(-1, 1, SIZE, dtype=np.float32)
    across, down = rng.uniform(-0.12, 0.12, 2)
    shade = 1 + across * slope[None, :, None] + down * slope[:, None, None]
    grain = rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32) * rng.uniform(*noise)
    return np.clip(pixels * shade * light + grain, 0, 255).astype(np.uint8)


Painter = Callable[[Sketch, np.random.Generator], None]
