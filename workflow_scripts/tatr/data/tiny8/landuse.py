"""Patches of land from a satellite, in any season and under any haze (as EuroSAT)."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tatr.data.tiny8.canvas import Colour, Painter, Sketch, ground, lookup, photograph, pose, rgb, vary

# Vegetation from lush to dry: the pattern has to tell the classes apart, not the season.
_SEASONS = ((70, 110, 60), (105, 130, 75), (150, 140, 90), (165, 125, 90), (95, 105, 95))
_WATER = (45, 75, 105)


def _season(rng: np.random.Generator) -> Colour:
    return vary(rng, _SEASONS[rng.integers(len(_SEASONS))], 20)


def _darker(colour: Colour, factor: float) -> Colour:
    return rgb(factor * np.array(colour))


def _annual_crop(pen: Sketch, rng: np.random.Generator) -> None:
    """Two or three ploughed fields side by side, with furrows."""
    edges = [-3.0, rng.uniform(-0.45, 0.0), rng.uniform(0.25, 0.6), 3.0]
    for left, right in itertools.pairwise(edges):
        soil = _season(rng)
        furrow = _darker(soil, 0.68)
        pen.box(left, -3, right, 3, soil)
        for x in np.arange(max(left, -1.6) + 0.06, min(right, 1.6), 0.21):
            pen.line([(x, -3), (x, 3)], 0.08, furrow)


def _forest(pen: Sketch, rng: np.random.Generator) -> None:
    """Crowns without a gap, each with a lit side."""
    leaf = _season(rng)
    shade, lit = _darker(leaf, 0.5), _darker(leaf, 1.15)
    pen.box(-3, -3, 3, 3, shade)
    for x in np.arange(-1.5, 1.6, 0.36):
        for y in np.arange(-1.5, 1.6, 0.36):
            dx, dy = rng.uniform(-0.1, 0.1, 2)
            pen.disc(x + dx, y + dy, 0.15, lit)


def _herbaceous(pen: Sketch, rng: np.random.Generator) -> None:
    """Open ground with scattered shrubs of many sizes."""
    leaf = _season(rng)
    pen.box(-3, -3, 3, 3, _darker(leaf, 1.2))
    bush = _darker(leaf, 0.6)
    for x, y in rng.uniform(-1.4, 1.4, (26, 2)):
        pen.disc(x, y, rng.uniform(0.05, 0.17), bush, rng.uniform(0.05, 0.17))


def _highway(pen: Sketch, rng: np.random.Generator) -> None:
    """A straight pale road across fields of two colours."""
    pen.box(-3, -3, 3, 0, _season(rng))
    pen.box(-3, 0, 3, 3, _season(rng))
    y = rng.uniform(-0.15, 0.15)
    pen.line([(-3, y), (3, y)], 0.4, vary(rng, (190, 188, 182)))
    pen.line([(-3, y), (3, y)], 0.1, vary(rng, (85, 85, 90)))


def _industrial(pen: Sketch, rng: np.random.Generator) -> None:
    """A few large bright roofs on concrete."""
    pen.box(-3, -3, 3, 3, vary(rng, (125, 122, 120), 25))
    for x in (-0.55, 0.5):
        for y in (-0.55, 0.5):
            roof = vary(rng, ((225, 225, 228), (170, 190, 205), (205, 165, 140))[rng.integers(3)])
            half_x, half_y = rng.uniform(0.3, 0.45, 2)
            pen.box(x - half_x + 0.1, y - half_y + 0.1, x + half_x + 0.1, y + half_y + 0.1, (50, 50, 55))
            pen.box(x - half_x, y - half_y, x + half_x, y + half_y, roof)


def _pasture(pen: Sketch, rng: np.random.Generator) -> None:
    """Smooth meadows between dark hedges that meet."""
    colour = _season(rng)
    pen.box(-3, -3, 3, 3, colour)
    hedge = _darker(colour, 0.45)
    x, y = rng.uniform(-0.35, 0.35, 2)
    ends = [(-2, y + rng.uniform(-0.4, 0.4)), (2, y + rng.uniform(-0.4, 0.4))]
    ends += [(x + rng.uniform(-0.4, 0.4), -2)]
    for end in ends:
        pen.line([(x, y), end], 0.13, hedge)


def _permanent_crop(pen: Sketch, rng: np.random.Generator) -> None:
    """An orchard: trees in a strict lattice on bare soil."""
    soil = vary(rng, ((190, 165, 125), (150, 125, 100), (165, 160, 110))[rng.integers(3)])
    pen.box(-3, -3, 3, 3, soil)
    tree = _darker(_season(rng), 0.6)
    step = rng.uniform(0.4, 0.5)
    for x in np.arange(-1.6, 1.7, step):
        for y in np.arange(-1.6, 1.7, step):
            pen.disc(x, y, 0.13, tree)


def _residential(pen: Sketch, rng: np.random.Generator) -> None:
    """Rows of small roofs along streets."""
    pen.box(-3, -3, 3, 3, _season(rng))
    street = vary(rng, (135, 135, 138))
    for y in (-0.9, 0.0, 0.9):
        pen.line([(-3, y), (3, y)], 0.2, street)
    roofs = ((190, 95, 70), (205, 190, 175), (120, 75, 65), (225, 220, 215))
    for row in (-1.2, -0.6, -0.3, 0.3, 0.6, 1.2):
        for x in np.arange(-1.5, 1.5, 0.38) + rng.uniform(-0.1, 0.1):
            pen.box(x, row - 0.11, x + 0.23, row + 0.11, vary(rng, roofs[rng.integers(4)]))


def _winding(rng: np.random.Generator, swing: float) -> NDArray[np.float64]:
    xs = np.linspace(-1.6, 1.6, 15)
    ys = swing * np.sin(rng.uniform(1.8, 2.6) * xs + rng.uniform(0, 2 * math.pi))
    return np.stack([xs, ys], axis=1)


def _river(pen: Sketch, rng: np.random.Generator) -> None:
    """A winding band of water through green banks."""
    colour = _season(rng)
    pen.box(-3, -3, 3, 3, colour)
    course = _winding(rng, rng.uniform(0.35, 0.5))
    pen.line(course, 0.62, _darker(colour, 0.7))
    pen.line(course, 0.46, vary(rng, _WATER))


def _lake(pen: Sketch, rng: np.random.Generator) -> None:
    """Open water to a pale shore, with the wind's ripples."""
    water = vary(rng, _WATER, 25)
    pen.box(-3, -3, 3, 3, water)
    ripple = _darker(water, 1.3)
    for x, y in rng.uniform(-1.2, 1.2, (14, 2)):
        pen.line([(x - 0.16, y), (x + 0.16, y)], 0.06, ripple)
    shore = np.add(_winding(rng, 0.12), (0, rng.uniform(0.6, 0.9)))
    pen.polygon([*shore, (1.6, 3), (-1.6, 3)], vary(rng, (215, 200, 165)))
    pen.polygon([*np.add(shore, (0, 0.16)), (1.6, 3), (-1.6, 3)], _season(rng))


_PAINTERS: dict[str, Painter] = {
    "annual crop land": _annual_crop,
    "forest": _forest,
    "herbaceous vegetation": _herbaceous,
    "highway": _highway,
    "industrial buildings": _industrial,
    "pasture land": _pasture,
    "permanent crop land": _permanent_crop,
    "residential buildings": _residential,
    "river": _river,
    "lake": _lake,
}


def draw(classname: str, rng: np.random.Generator, split: str = "train") -> NDArray[np.uint8]:
    """One patch of land, uint8 `[32, 32, 3]`. Drawn anew each time, so `split` changes nothing."""
    paint = lookup(_PAINTERS, classname)
    image = ground(rng, (128, 128, 128))
    paint(pose(rng, image, scale=(0.85, 1.1), shift=0.15), rng)
    haze = ground(rng, (128, 128, 128), mottle=40, cells=9)
    return photograph(rng, Image.blend(image, haze, rng.uniform(0.05, 0.2)))
