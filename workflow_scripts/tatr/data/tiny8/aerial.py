"""Objects seen from an aeroplane, in any direction and on any ground (as RESISC45)."""

import math

import numpy as np
from numpy.typing import NDArray

from tatr.data.tiny8.canvas import Painter, Sketch, any_colour, ground, lookup, photograph, pose, vary

_GROUNDS = ((95, 125, 75), (150, 130, 95), (115, 115, 118), (70, 95, 85), (175, 160, 130))
_WHITE = (238, 238, 240)
_ASPHALT = (75, 75, 80)
_WATER = (50, 95, 125)


def _airplane(pen: Sketch, rng: np.random.Generator) -> None:
    body = vary(rng, _WHITE)
    pen.line([(0, -0.85), (0, 0.85)], 0.22, body)
    pen.polygon([(0, -0.3), (0.95, 0.25), (0.95, 0.4), (0, 0.12)], body)
    pen.polygon([(0, -0.3), (-0.95, 0.25), (-0.95, 0.4), (0, 0.12)], body)
    pen.polygon([(0, 0.5), (0.4, 0.85), (-0.4, 0.85)], body)


def _baseball(pen: Sketch, rng: np.random.Generator) -> None:
    angles = np.linspace(-0.75 * math.pi, -0.25 * math.pi, 9)
    fan = 1.45 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + (0, 0.75)
    pen.polygon([(0, 0.75), *fan], vary(rng, (85, 150, 70)))
    pen.polygon([(0, 0.85), (0.62, 0.2), (0, -0.4), (-0.62, 0.2)], vary(rng, (185, 125, 75)))
    pen.polygon([(0, 0.5), (0.3, 0.2), (0, -0.1), (-0.3, 0.2)], vary(rng, (85, 150, 70)))


def _bridge(pen: Sketch, rng: np.random.Generator) -> None:
    pen.box(-0.55, -3, 0.55, 3, vary(rng, _WATER))
    pen.box(-3, -0.2, 3, 0.2, vary(rng, (185, 180, 172)))
    pen.line([(-3, 0), (3, 0)], 0.06, vary(rng, _ASPHALT))


def _freeway(pen: Sketch, rng: np.random.Generator) -> None:
    asphalt, paint = vary(rng, _ASPHALT), vary(rng, _WHITE)
    for centre in (-0.38, 0.38):
        pen.box(-3, centre - 0.32, 3, centre + 0.32, asphalt)
        for x in np.arange(-1.8, 1.8, 0.5) + rng.uniform(0, 0.5):
            pen.box(x, centre - 0.05, x + 0.26, centre + 0.05, paint)


def _harbor(pen: Sketch, rng: np.random.Generator) -> None:
    pen.box(-3, -3, 3, 3, vary(rng, _WATER))
    pen.box(-3, -0.1, 3, 0.1, vary(rng, (190, 180, 165)))
    for x in np.arange(-1.0, 1.1, 0.4) + rng.uniform(-0.1, 0.1):
        for side in (-1, 1):
            if rng.uniform() < 0.9:
                hull = [(x - 0.11, side * 0.16), (x + 0.11, side * 0.16)]
                hull += [(x + 0.11, side * 0.6), (x, side * 0.8), (x - 0.11, side * 0.6)]
                pen.polygon(hull, vary(rng, _WHITE))


def _intersection(pen: Sketch, rng: np.random.Generator) -> None:
    asphalt, paint = vary(rng, _ASPHALT), vary(rng, _WHITE)
    pen.box(-3, -0.33, 3, 0.33, asphalt)
    pen.box(-0.33, -3, 0.33, 3, asphalt)
    for low, high in ((-3, -0.45), (0.45, 3)):
        pen.line([(low, 0), (high, 0)], 0.09, paint)
        pen.line([(0, low), (0, high)], 0.09, paint)


def _railway(pen: Sketch, rng: np.random.Generator) -> None:
    pen.box(-3, -0.5, 3, 0.5, vary(rng, (150, 140, 130)))
    sleeper, rail = vary(rng, (70, 52, 45)), vary(rng, (205, 205, 210))
    for x in np.arange(-1.8, 1.8, 0.28) + rng.uniform(0, 0.28):
        pen.box(x, -0.42, x + 0.12, 0.42, sleeper)
    for y in (-0.24, 0.24):
        pen.line([(-3, y), (3, y)], 0.09, rail)


def _roundabout(pen: Sketch, rng: np.random.Generator) -> None:
    asphalt = vary(rng, _ASPHALT)
    pen.box(-3, -0.2, 3, 0.2, asphalt)
    pen.box(-0.2, -3, 0.2, 3, asphalt)
    pen.disc(0, 0, 0.72, asphalt)
    pen.disc(0, 0, 0.36, vary(rng, (105, 160, 80)))


def _ship(pen: Sketch, rng: np.random.Generator) -> None:
    pen.box(-3, -3, 3, 3, vary(rng, _WATER))
    wake = vary(rng, (150, 185, 200))
    pen.polygon([(-0.75, 0), (-1.6, -0.35), (-1.6, 0.35)], wake)
    hull = [(-0.85, -0.22), (0.5, -0.25), (0.98, 0), (0.5, 0.25), (-0.85, 0.22)]
    pen.polygon(hull, vary(rng, ((90, 40, 40), (60, 62, 70), (215, 215, 215))[rng.integers(3)]))
    pen.box(-0.7, -0.13, -0.4, 0.13, vary(rng, _WHITE))
    for x in (-0.25, 0.05, 0.35):
        pen.box(x, -0.14, x + 0.2, 0.14, any_colour(rng, (0.3, 0.8), (0.5, 0.9)))


def _stadium(pen: Sketch, rng: np.random.Generator) -> None:
    pen.disc(0, 0, 0.98, vary(rng, (200, 200, 205)), 0.75)
    pen.disc(0, 0, 0.8, vary(rng, (175, 85, 65)), 0.58)
    pen.disc(0, 0, 0.58, vary(rng, (80, 155, 70)), 0.36)
    pen.line([(0, -0.36), (0, 0.36)], 0.07, _WHITE)


def _tanks(pen: Sketch, rng: np.random.Generator) -> None:
    for x in (-0.62, 0.02, 0.66):
        for y in (-0.4, 0.35):
            if rng.uniform() < 0.85:
                dx, dy = rng.uniform(-0.06, 0.06, 2)
                pen.disc(x + dx + 0.07, y + dy + 0.07, 0.29, (45, 45, 48))
                pen.disc(x + dx, y + dy, 0.28, vary(rng, _WHITE))
                pen.disc(x + dx, y + dy, 0.1, vary(rng, (175, 175, 180)))


def _tennis(pen: Sketch, rng: np.random.Generator) -> None:
    courts = ((55, 110, 160), (65, 135, 85), (185, 95, 60))
    pen.box(-0.98, -0.68, 0.98, 0.68, vary(rng, courts[rng.integers(3)]))
    pen.box(-0.78, -0.48, 0.78, 0.48, vary(rng, courts[rng.integers(3)]))
    paint = vary(rng, _WHITE)
    frame = [(-0.78, -0.48), (0.78, -0.48), (0.78, 0.48), (-0.78, 0.48), (-0.78, -0.48)]
    for stroke in (frame, [(0, -0.6), (0, 0.6)], [(-0.4, 0), (0.4, 0)]):
        pen.line(stroke, 0.08, paint)
    for x in (-0.4, 0.4):
        pen.line([(x, -0.48), (x, 0.48)], 0.08, paint)


_PAINTERS: dict[str, Painter] = {
    "airplane": _airplane,
    "baseball diamond": _baseball,
    "bridge": _bridge,
    "freeway": _freeway,
    "harbor": _harbor,
    "intersection": _intersection,
    "railway": _railway,
    "roundabout": _roundabout,
    "ship": _ship,
    "stadium": _stadium,
    "storage tanks": _tanks,
    "tennis court": _tennis,
}


def draw(classname: str, rng: np.random.Generator, split: str = "train") -> NDArray[np.uint8]:
    """One aerial picture, uint8 `[32, 32, 3]`. Drawn anew each time, so `split` changes nothing."""
    paint = lookup(_PAINTERS, classname)
    image = ground(rng, vary(rng, _GROUNDS[rng.integers(len(_GROUNDS))], 20), mottle=16)
    pen = pose(rng, image, scale=(0.75, 0.95), shift=0.12)
    paint(pen, rng)
    return photograph(rng, image)
