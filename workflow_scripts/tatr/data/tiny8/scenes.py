"""Landscapes and places seen from the ground, in any light and season (as SUN397)."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tatr.data.tiny8.canvas import Colour, Sketch, ground, lookup, luma, photograph, rgb, vary

# Day, haze, overcast, sunset, dusk: any class under any of them, so the mean colour tells little.
_SKIES = ((105, 165, 230), (205, 220, 235), (165, 170, 178), (235, 160, 105), (75, 75, 125))
_LANDS = ((95, 145, 65), (150, 135, 80), (225, 228, 235), (140, 110, 80))
_SEA = (45, 105, 150)
_ROCK = (110, 95, 88)
_WHITE = (240, 240, 240)


class _Place:
    """One picture's sheet, light and horizon, with colours already in that light."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        sky = vary(rng, _SKIES[rng.integers(len(_SKIES))])
        self.light = 0.45 + 0.55 * min(1.0, luma(sky) / 170)
        self.horizon = rng.uniform(0.0, 0.35)
        self.x = rng.uniform(-0.25, 0.25)
        flip = bool(rng.integers(2))
        self.pen = Sketch(ground(rng, sky, mottle=9), scale=rng.uniform(0.95, 1.15), flip=flip)

    def lit(self, colour: tuple[int, int, int]) -> Colour:
        """A variant of `colour` in this picture's light."""
        return rgb(np.array(vary(self.rng, colour, 14)) * self.light)

    def land(self, colour: tuple[int, int, int] | None = None) -> None:
        """Fill everything below the horizon; the season is random unless a colour is given."""
        chosen = colour or _LANDS[self.rng.integers(len(_LANDS))]
        self.pen.box(-2, self.horizon, 2, 2, self.lit(chosen))

    def ridge(self, height: float, colour: tuple[int, int, int], waves: float) -> None:
        """Fill a wavy hill whose crest lies around `height`."""
        xs = np.linspace(-1.6, 1.6, 17)
        crest = height + 0.16 * np.sin(waves * xs + self.rng.uniform(0, 6.3))
        outline = [(-1.6, 2), *zip(xs, crest, strict=True), (1.6, 2)]
        self.pen.polygon(outline, self.lit(colour))


def _beach(place: _Place) -> None:
    place.land(_SEA)
    shore = place.horizon + place.rng.uniform(0.25, 0.4)
    edge = [(-1.6, shore + 0.1), (0, shore), (1.6, shore + place.rng.uniform(-0.1, 0.2))]
    place.pen.polygon([*edge, (1.6, 2), (-1.6, 2)], place.lit((225, 200, 145)))
    place.pen.line(edge, 0.08, place.lit(_WHITE))


def _desert(place: _Place) -> None:
    sand = (215, 170, 100)
    place.ridge(place.horizon - 0.05, (225, 185, 120), 2.5)
    place.ridge(place.horizon + 0.4, sand, 3.5)
    cactus = place.lit((50, 105, 55))
    x, y = place.x, place.horizon + 0.45
    place.pen.line([(x, y), (x, y - 0.85)], 0.15, cactus)
    place.pen.line([(x - 0.3, y - 0.65), (x - 0.3, y - 0.35), (x + 0.28, y - 0.35)], 0.11, cactus)
    place.pen.line([(x + 0.28, y - 0.35), (x + 0.28, y - 0.75)], 0.11, cactus)


def _forest(place: _Place) -> None:
    place.land()
    greens = ((30, 80, 45), (50, 105, 55), (70, 95, 40))
    leaf = greens[place.rng.integers(3)]
    for base in (place.horizon + 0.1, place.horizon + 0.6):
        for x in np.arange(-1.2, 1.3, 0.36) + place.rng.uniform(-0.15, 0.15):
            high = place.rng.uniform(0.8, 1.2)
            place.pen.line([(x, base), (x, base + 0.15)], 0.09, place.lit((80, 60, 45)))
            tree = [(x - 0.23, base), (x, base - high), (x + 0.23, base)]
            place.pen.polygon(tree, place.lit(leaf))


def _mountain(place: _Place) -> None:
    peaks = np.add(place.rng.uniform(-0.1, 0.1, 2), (-0.55, 0.45))
    for x, top in zip(peaks, place.rng.uniform(-0.9, -0.5, 2), strict=True):
        base = place.horizon + 0.2
        slope = 0.75 / (base - top)
        place.pen.polygon([(x - 0.75, base), (x, top), (x + 0.75, base)], place.lit(_ROCK))
        cap = 0.45 * (base - top)
        snow = [(x - slope * cap, top + cap), (x, top), (x + slope * cap, top + cap)]
        notch = [(x + 0.12, top + 0.7 * cap), (x - 0.1, top + cap * 1.05)]
        place.pen.polygon([*snow, *notch], place.lit(_WHITE))
    place.land()


def _skyline(place: _Place) -> None:
    left = -1.2
    while left < 1.2:
        wide = place.rng.uniform(0.25, 0.45)
        top = place.rng.uniform(-0.85, 0.0)
        place.pen.box(left, top, left + wide, 1, place.lit((85, 90, 105)))
        window = place.lit((235, 215, 140))
        for y in np.arange(top + 0.12, place.horizon + 0.2, 0.24):
            place.pen.box(left + 0.07, y, left + wide - 0.07, y + 0.09, window)
        left += wide + 0.03
    place.horizon += 0.35
    place.land()


def _volcano(place: _Place) -> None:
    x, base, top = place.x, place.horizon + 0.35, place.rng.uniform(-0.3, -0.1)
    smoke = place.lit((190, 185, 185))
    for step in range(4):
        drift = place.rng.uniform(-0.1, 0.1) + 0.08 * step
        place.pen.disc(x + drift, top - 0.12 - 0.2 * step, 0.16 + 0.06 * step, smoke)
    cone = [(x - 1.0, base), (x - 0.22, top), (x + 0.22, top), (x + 1.0, base)]
    place.pen.polygon(cone, place.lit((75, 62, 62)))
    lava = (235, 80, 30)
    place.pen.polygon([(x - 0.2, top), (x + 0.2, top), (x + 0.1, top + 0.15)], rgb(lava))
    place.pen.line([(x, top), (x + 0.1, top + 0.3), (x + 0.05, base)], 0.12, rgb(lava))
    place.land()


def _waterfall(place: _Place) -> None:
    top = place.rng.uniform(-0.75, -0.5)
    green = _LANDS[place.rng.integers(2)]
    place.pen.box(-2, top, 2, 2, place.lit(_ROCK))
    place.pen.box(-2, top - 0.08, 2, top + 0.1, place.lit(green))
    x, half = place.x, place.rng.uniform(0.16, 0.26)
    pool = place.rng.uniform(0.5, 0.65)
    place.pen.box(-2, pool, 2, 2, place.lit(_SEA))
    place.pen.box(x - half, top - 0.05, x + half, pool + 0.1, place.lit((225, 235, 245)))
    place.pen.disc(x, pool + 0.08, half + 0.2, place.lit(_WHITE), 0.12)


def _bridge(place: _Place) -> None:
    place.land(_SEA)
    deck, steel = place.horizon - 0.02, place.lit((150, 60, 50))
    towers = (place.x - 0.55, place.x + 0.55)
    top = deck - place.rng.uniform(0.6, 0.75)
    for x in towers:
        place.pen.line([(x, top), (x, deck + 0.35)], 0.12, steel)
    xs = np.linspace(-0.55, 0.55, 9)
    sag = deck - 0.08 - (deck - 0.08 - top) * (xs / 0.55) ** 2
    place.pen.line([(-1.4, deck), *zip(xs + place.x, sag, strict=True), (1.4, deck)], 0.05, steel)
    place.pen.line([(-1.6, deck), (1.6, deck)], 0.13, steel)


def _lighthouse(place: _Place) -> None:
    place.land(_SEA)
    x, base = place.x, place.horizon + 0.3
    place.pen.disc(x, base + 0.2, 0.75, place.lit(_ROCK), 0.3)
    top = base - place.rng.uniform(0.95, 1.1)
    for band in range(5):
        y = top + (base - top) * band / 5
        stripe = place.lit((200, 45, 45) if band % 2 == 0 else _WHITE)
        half = 0.15 + 0.02 * band
        place.pen.box(x - half, y, x + half, y + (base - top) / 5, stripe)
    place.pen.disc(x, top - 0.08, 0.14, rgb((255, 235, 130)))


def _castle(place: _Place) -> None:
    stone = place.lit((165, 155, 140))
    x, base = place.x, place.horizon + 0.35
    wall, tower = base - 0.55, base - place.rng.uniform(0.95, 1.15)
    place.pen.box(x - 0.7, wall, x + 0.7, base, stone)
    for side in (-0.7, 0.7):
        place.pen.box(x + side - 0.2, tower, x + side + 0.2, base, stone)
        for tooth in (-0.16, 0.0, 0.16):
            left = x + side + tooth
            place.pen.box(left - 0.05, tower - 0.14, left + 0.05, tower, stone)
    for tooth in (-0.3, 0.0, 0.3):
        place.pen.box(x + tooth - 0.08, wall - 0.13, x + tooth + 0.08, wall, stone)
    place.pen.box(x - 0.16, base - 0.3, x + 0.16, base, place.lit((55, 42, 35)))
    place.horizon = base
    place.land()


def _windmill(place: _Place) -> None:
    place.land()
    x, base, hub = place.x, place.horizon + 0.35, place.horizon - 0.45
    tower = [(x - 0.26, base), (x - 0.15, hub), (x + 0.15, hub), (x + 0.26, base)]
    place.pen.polygon(tower, place.lit((150, 95, 70)))
    sail, turn = place.lit(_WHITE), place.rng.uniform(0, math.pi / 2)
    for blade in range(4):
        angle = turn + blade * math.pi / 2
        tip = (x + 0.62 * math.cos(angle), hub + 0.62 * math.sin(angle))
        place.pen.line([(x, hub), tip], 0.13, sail)


def _sailboat(place: _Place) -> None:
    place.land(_SEA)
    x, y = place.x, place.horizon + place.rng.uniform(0.15, 0.35)
    mast = y - place.rng.uniform(0.95, 1.1)
    cloth = place.lit((_WHITE, (215, 70, 60), (240, 200, 80))[place.rng.integers(3)])
    place.pen.polygon([(x - 0.04, mast), (x - 0.04, y - 0.1), (x - 0.5, y - 0.1)], cloth)
    place.pen.polygon([(x + 0.04, mast + 0.1), (x + 0.04, y - 0.1), (x + 0.42, y - 0.1)], cloth)
    hull = [(x - 0.6, y), (x + 0.6, y), (x + 0.4, y + 0.22), (x - 0.45, y + 0.22)]
    place.pen.polygon(hull, place.lit((90, 55, 40)))


_PAINTERS: dict[str, Callable[[_Place], None]] = {
    "beach": _beach,
    "desert": _desert,
    "forest": _forest,
    "mountain": _mountain,
    "skyline": _skyline,
    "volcano": _volcano,
    "waterfall": _waterfall,
    "bridge": _bridge,
    "lighthouse": _lighthouse,
    "castle": _castle,
    "windmill": _windmill,
    "sailboat": _sailboat,
}


def draw(classname: str, rng: np.random.Generator, split: str = "train") -> NDArray[np.uint8]:
    """One scene, uint8 `[32, 32, 3]`. Drawn anew each time, so `split` changes nothing."""
    paint = lookup(_PAINTERS, classname)
    place = _Place(rng)
    paint(place)
    return photograph(rng, place.pen.image)
