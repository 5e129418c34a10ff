"""Traffic signs, a little tilted and off centre, before a cluttered street (as GTSRB)."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tatr.data.tiny8.canvas import Colour, Sketch, any_colour, ground, lookup, photograph, pose, vary

_RED = (200, 35, 45)
_BLUE = (35, 85, 180)
_YELLOW = (245, 200, 40)
_WHITE = (242, 242, 242)
_BLACK = (30, 30, 32)


def _regular(corners: int, radius: float, turn: float) -> list[tuple[float, float]]:
    """The corners of a regular polygon; `turn` in parts of a full turn, 0 puts one at the top."""
    angles = [2 * math.pi * (corner / corners + turn) - math.pi / 2 for corner in range(corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


class _Plate:
    """A sign being painted; every colour is a slightly weathered variant."""

    def __init__(self, pen: Sketch, rng: np.random.Generator) -> None:
        self.pen = pen
        self.rng = rng

    def shade(self, colour: tuple[int, int, int]) -> Colour:
        return vary(self.rng, colour, 16)

    def disc(self, rim: tuple[int, int, int], face: tuple[int, int, int], inner: float) -> None:
        self.pen.disc(0, 0, 0.9, self.shade(rim))
        self.pen.disc(0, 0, inner, self.shade(face))

    def triangle(self, turn: float) -> None:
        """A white triangle with a red rim; 0 points up, 1/2 down."""
        self.pen.polygon(_regular(3, 1.05, turn), self.shade(_RED))
        self.pen.polygon(_regular(3, 0.6, turn), self.shade(_WHITE))

    def arrow(self, turn: float) -> None:
        """A white arrow that ends upwards (0), to the right (1) or to the left (-1)."""
        white = self.shade(_WHITE)
        if turn == 0:
            self.pen.line([(0, 0.6), (0, -0.2)], 0.24, white)
            self.pen.polygon([(-0.42, -0.12), (0.42, -0.12), (0, -0.68)], white)
            return
        self.pen.line([(-0.35 * turn, 0.55), (-0.35 * turn, -0.1), (0.1 * turn, -0.1)], 0.24, white)
        self.pen.polygon([(0.05 * turn, -0.5), (0.05 * turn, 0.3), (0.65 * turn, -0.1)], white)


def _stop(plate: _Plate) -> None:
    plate.pen.polygon(_regular(8, 0.98, 1 / 16), plate.shade(_WHITE))
    plate.pen.polygon(_regular(8, 0.88, 1 / 16), plate.shade(_RED))
    white = plate.shade(_WHITE)
    for x in (-0.5, -0.17, 0.17, 0.5):  # four letters, as far as one can read them at this size
        plate.pen.box(x - 0.1, -0.28, x + 0.1, 0.28, white)


def _yield(plate: _Plate) -> None:
    plate.triangle(1 / 2)


def _no_entry(plate: _Plate) -> None:
    plate.disc(_WHITE, _RED, 0.82)
    plate.pen.box(-0.58, -0.17, 0.58, 0.17, plate.shade(_WHITE))


def _turn_right(plate: _Plate) -> None:
    plate.disc(_WHITE, _BLUE, 0.82)
    plate.arrow(1)


def _turn_left(plate: _Plate) -> None:
    plate.disc(_WHITE, _BLUE, 0.82)
    plate.arrow(-1)


def _straight(plate: _Plate) -> None:
    plate.disc(_WHITE, _BLUE, 0.82)
    plate.arrow(0)


def _priority(plate: _Plate) -> None:
    plate.pen.polygon(_regular(4, 1.05, 0), plate.shade(_WHITE))
    plate.pen.polygon(_regular(4, 0.72, 0), plate.shade(_YELLOW))


def _caution(plate: _Plate) -> None:
    plate.triangle(0)
    black = plate.shade(_BLACK)
    plate.pen.box(-0.1, -0.38, 0.1, 0.05, black)
    plate.pen.disc(0, 0.2, 0.1, black)


def _crossroads(plate: _Plate) -> None:
    plate.triangle(0)
    black = plate.shade(_BLACK)
    plate.pen.line([(-0.25, -0.22), (0.25, 0.28)], 0.15, black)
    plate.pen.line([(0.25, -0.22), (-0.25, 0.28)], 0.15, black)


def _speed_limit(plate: _Plate) -> None:
    plate.disc(_RED, _WHITE, 0.64)
    black = plate.shade(_BLACK)
    if plate.rng.integers(2):  # 30 or 50
        five = [
            (-0.12, -0.3),
            (-0.42, -0.3),
            (-0.42, -0.02),
            (-0.14, 0.04),
            (-0.14, 0.3),
            (-0.44, 0.3),
        ]
        plate.pen.line(five, 0.12, black)
    else:
        three = [
            (-0.44, -0.3),
            (-0.14, -0.3),
            (-0.3, -0.02),
            (-0.12, 0.06),
            (-0.16, 0.3),
            (-0.44, 0.3),
        ]
        plate.pen.line(three, 0.12, black)
    plate.pen.disc(0.24, 0, 0.2, black, 0.36)
    plate.pen.disc(0.24, 0, 0.08, plate.shade(_WHITE), 0.22)


def _no_passage(plate: _Plate) -> None:
    plate.disc(_RED, _WHITE, 0.64)


def _end_of_limits(plate: _Plate) -> None:
    plate.disc(_BLACK, _WHITE, 0.82)
    black = plate.shade(_BLACK)
    for offset in (-0.2, 0.0, 0.2):
        plate.pen.line([(-0.42 + offset, 0.42 + offset), (0.42 + offset, -0.42 + offset)], 0.08, black)


def _roundabout(plate: _Plate) -> None:
    plate.disc(_WHITE, _BLUE, 0.82)
    white = plate.shade(_WHITE)
    for start in (0.0, 1 / 3, 2 / 3):
        angles = 2 * math.pi * (start + np.linspace(0, 0.2, 5))
        arc = np.stack([0.48 * np.cos(angles), 0.48 * np.sin(angles)], axis=1)
        plate.pen.line(arc, 0.17, white)
        tip = 2 * math.pi * (start + 0.29)
        base = arc[-1]
        ends = [(0.24 * base / 0.48), (0.74 * base / 0.48)]
        plate.pen.polygon([*ends, (0.5 * math.cos(tip), 0.5 * math.sin(tip))], white)


def _parking(plate: _Plate) -> None:
    plate.pen.box(-0.82, -0.82, 0.82, 0.82, plate.shade(_WHITE))
    plate.pen.box(-0.74, -0.74, 0.74, 0.74, plate.shade(_BLUE))
    white = plate.shade(_WHITE)
    plate.pen.line([(-0.25, 0.58), (-0.25, -0.5)], 0.22, white)
    plate.pen.disc(0.05, -0.2, 0.4, white, 0.37)
    plate.pen.disc(0.05, -0.2, 0.17, plate.shade(_BLUE), 0.15)


_PAINTERS: dict[str, Callable[[_Plate], None]] = {
    "stop": _stop,
    "yield": _yield,
    "no entry": _no_entry,
    "turn right": _turn_right,
    "turn left": _turn_left,
    "go straight": _straight,
    "priority road": _priority,
    "caution": _caution,
    "crossroads": _crossroads,
    "speed limit": _speed_limit,
    "no vehicles": _no_passage,
    "end of limits": _end_of_limits,
    "roundabout": _roundabout,
    "parking": _parking,
}


def _street(rng: np.random.Generator) -> Sketch:
    """Coloured clutter, a pole, and the pen where the sign will hang."""
    image = ground(rng, any_colour(rng), mottle=22, cells=5)
    behind = Sketch(image)
    for _ in range(rng.integers(2, 5)):
        x, y = rng.uniform(-1, 1, 2)
        behind.disc(x, y, rng.uniform(0.1, 0.35), any_colour(rng), rng.uniform(0.1, 0.5))
    pen = pose(rng, image, angle=0.2, scale=(0.68, 0.92), shift=0.12)
    pen.box(-0.08, 0.7, 0.08, 2, vary(rng, (130, 130, 135)))
    return pen


def draw(classname: str, rng: np.random.Generator, split: str = "train") -> NDArray[np.uint8]:
    """One sign, uint8 `[32, 32, 3]`. Drawn anew for every generator, so `split` changes nothing."""
    paint = lookup(_PAINTERS, classname)
    pen = _street(rng)
    paint(_Plate(pen, rng))
    return photograph(rng, pen.image, exposure=(0.6, 1.2))
