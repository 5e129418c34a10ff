"""Cars from the side: a colour and a body type, before any wall (as StanfordCars)."""

import numpy as np
from numpy.typing import NDArray

from tatr.data.tiny8.canvas import Colour, Sketch, any_colour, ground, lookup, photograph, pose, rgb, vary

_PAINTS = {
    "red": (205, 35, 40),
    "blue": (35, 75, 195),
    "white": (238, 238, 238),
    "green": (40, 140, 70),
    "yellow": (240, 205, 50),
    "black": (32, 32, 38),
}


def _points(*numbers: float) -> NDArray[np.float64]:
    return np.array(numbers).reshape(-1, 2)


# x and y in turn, the front to the right; the wheels' centres lie at y = 0.38.
_OUTLINES = {
    "sedan": _points(
        *(-0.95, 0.35, -0.95, 0.02, -0.6, -0.03, -0.35, -0.36),
        *(0.25, -0.36, 0.52, -0.03, 0.92, 0.06, 0.97, 0.35),
    ),
    "pickup": _points(
        *(-0.95, 0.35, -0.95, 0.0, -0.1, 0.0, -0.1, -0.45),
        *(0.3, -0.45, 0.52, -0.05, 0.93, 0.02, 0.97, 0.35),
    ),
    "van": _points(
        *(-0.92, 0.35, -0.92, -0.58, -0.85, -0.65, 0.45, -0.65),
        *(0.8, -0.12, 0.94, 0.0, 0.94, 0.35),
    ),
    "convertible": _points(
        *(-0.95, 0.35, -0.95, 0.02, -0.4, -0.05, 0.2, -0.02, 0.9, 0.06, 0.97, 0.35),
    ),
    "bus": _points(-0.98, 0.35, -0.98, -0.6, 0.92, -0.6, 0.98, -0.1, 0.98, 0.35),
}
_WINDOWS = {
    "sedan": (
        _points(-0.44, -0.03, -0.29, -0.27, -0.07, -0.27, -0.07, -0.03),
        _points(0.02, -0.03, 0.02, -0.27, 0.2, -0.27, 0.4, -0.03),
    ),
    "pickup": (_points(0.0, -0.05, 0.0, -0.35, 0.25, -0.35, 0.4, -0.05),),
    "van": (
        _points(0.2, -0.12, 0.2, -0.52, 0.42, -0.52, 0.66, -0.12),
        _points(-0.25, -0.12, -0.25, -0.52, 0.08, -0.52, 0.08, -0.12),
    ),
    "convertible": (_points(0.12, -0.02, 0.02, -0.36, 0.09, -0.36, 0.28, -0.02),),
    "bus": tuple(
        _points(x, -0.12, x, -0.48, x + 0.26, -0.48, x + 0.26, -0.12) for x in (-0.88, -0.52, -0.16, 0.2, 0.56)
    ),
}

_CLASSES = {f"{paint} {body}": (paint, body) for paint in _PAINTS for body in _OUTLINES}


def _street(rng: np.random.Generator) -> Sketch:
    """A wall of any colour and a road, with the pen where the car will stand."""
    image = ground(rng, any_colour(rng, (0.0, 0.6), (0.3, 0.9)), mottle=16)
    pen = pose(rng, image, angle=0.06, scale=(0.78, 0.95), shift=0.12, flip=True)
    grey = rng.uniform(60, 150)
    pen.box(-3, rng.uniform(0.3, 0.45), 3, 3, vary(rng, (grey, grey, grey), 12))
    if rng.uniform() < 0.5:
        x = rng.uniform(-1, 1)
        pen.box(x, -1.6, x + rng.uniform(0.15, 0.6), 0.3, any_colour(rng, (0.0, 0.6), (0.3, 0.9)))
    return pen


def _paint_car(pen: Sketch, rng: np.random.Generator, colour: Colour, body: str) -> None:
    pen.disc(0, 0.5, 0.95, (45, 45, 48), 0.1)
    pen.polygon(_OUTLINES[body], colour)
    pen.box(-0.94, 0.24, 0.96, 0.36, rgb(0.6 * np.array(colour)))
    glass = vary(rng, (165, 200, 215) if rng.uniform() < 0.5 else (60, 75, 90))
    for window in _WINDOWS[body]:
        pen.polygon(window, glass)
    if body == "convertible":
        for x in (-0.35, -0.08):
            pen.disc(x, -0.12, 0.09, vary(rng, (90, 60, 50)), 0.14)
    for x in (-0.58, 0.6):
        pen.disc(x, 0.38, 0.21, (22, 22, 24))
        pen.disc(x, 0.38, 0.09, (175, 175, 180))


def draw(classname: str, rng: np.random.Generator, split: str = "train") -> NDArray[np.uint8]:
    """One car, uint8 `[32, 32, 3]`. Drawn anew for every generator, so `split` changes nothing."""
    paint, body = lookup(_CLASSES, classname)
    pen = _street(rng)
    _paint_car(pen, rng, vary(rng, _PAINTS[paint], 16), body)
    return photograph(rng, pen.image)
