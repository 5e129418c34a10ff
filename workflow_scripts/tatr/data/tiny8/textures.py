"""Textures in any two colours, at any scale and angle (as DTD). Computed, not drawn with a pen."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tatr.data.tiny8.canvas import WIDE, contrasting_pair, lookup, photograph

Field = NDArray[np.float32]
_FINE = 64  # computed at twice the final resolution
_AXIS = np.linspace(-1, 1, _FINE, dtype=np.float32)
_X, _Y = np.meshgrid(_AXIS, _AXIS)


def _smooth(rng: np.random.Generator, cells: int) -> Field:
    """Smooth noise `[64, 64]` of about unit variance."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    fine = Image.fromarray(coarse).resize((_FINE, _FINE), Image.Resampling.BICUBIC)
    return np.asarray(fine, dtype=np.float32)


def _plane(rng: np.random.Generator, periods: tuple[float, float]) -> tuple[Field, Field]:
    """Turned coordinates `u`, `v` that count periods across the picture, a little bent."""
    angle, count = rng.uniform(0, 2 * math.pi), rng.uniform(*periods) / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    bend = 0.045 * _smooth(rng, 4)
    u = count * (cosine * _X + sine * _Y + bend) + rng.uniform()
    v = count * (cosine * _Y - sine * _X + bend) + rng.uniform()
    return u.astype(np.float32), v.astype(np.float32)


def _fold(u: NDArray[np.floating]) -> NDArray[np.floating]:
    """Distance to the nearest whole number, 0 to 1/2."""
    return np.abs(u - np.round(u))


def _nearest(rng: np.random.Generator, count: int) -> tuple[Field, Field]:
    """Distances to the nearest and second nearest of `count` scattered points."""
    side = math.ceil(math.sqrt(count))
    lattice = (np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) + 0.5) / side
    spots = (2.6 * lattice - 1.3 + rng.uniform(-0.9, 0.9, lattice.shape) / side).astype(np.float32)
    far = np.hypot(_X[..., None] - spots[:, 0], _Y[..., None] - spots[:, 1])
    far.partition(1, axis=-1)
    return far[..., 0], far[..., 1]


def _striped(rng: np.random.Generator) -> Field:
    u, _ = _plane(rng, (3.5, 6.0))
    return (_fold(u) < rng.uniform(0.18, 0.32)).astype(np.float32)


def _chequered(rng: np.random.Generator) -> Field:
    u, v = _plane(rng, (2.5, 4.0))
    return ((_fold(u) < 0.25) ^ (_fold(v) < 0.25)).astype(np.float32)


def _grid(rng: np.random.Generator) -> Field:
    u, v = _plane(rng, (3.0, 4.5))
    return (np.minimum(_fold(u), _fold(v)) < rng.uniform(0.08, 0.13)).astype(np.float32)


def _dotted(rng: np.random.Generator) -> Field:
    u, v = _plane(rng, (3.0, 4.5))
    return (np.hypot(_fold(u), _fold(v)) < rng.uniform(0.22, 0.32)).astype(np.float32)


def _honeycombed(rng: np.random.Generator) -> Field:
    """Walls of a hexagonal lattice: where the two nearest cell centres are about equally far."""
    u, v = _plane(rng, (2.8, 3.6))
    high = math.sqrt(3)
    far = [
        np.hypot(u - np.floor(u + shift) + shift - i, v - high * (np.floor(v / high + shift) - shift + j))
        for shift in (0.0, 0.5)
        for i in (0, 1)
        for j in (0, 1)
    ]
    near = np.partition(np.stack(far), 1, axis=0)
    return (near[1] - near[0] < rng.uniform(0.15, 0.22)).astype(np.float32)


def _marbled(rng: np.random.Generator) -> Field:
    u, _ = _plane(rng, (2.0, 3.5))
    veins = np.sin(2 * math.pi * (u + 0.35 * _smooth(rng, 5) + 0.12 * _smooth(rng, 11)))
    return np.abs(veins) ** 0.7


def _spiralled(rng: np.random.Generator) -> Field:
    x, y = _X - rng.uniform(-0.3, 0.3), _Y - rng.uniform(-0.3, 0.3)
    arms = int(rng.integers(1, 3)) * int(rng.choice([-1, 1]))
    turns = rng.uniform(2.0, 2.8)
    wave = turns * np.hypot(x, y) + arms * np.arctan2(y, x) / (2 * math.pi) + rng.uniform()
    return (_fold(wave) < 0.25).astype(np.float32)


def _zigzagged(rng: np.random.Generator) -> Field:
    u, v = _plane(rng, (2.5, 4.0))
    return (_fold(v + rng.uniform(0.9, 1.2) * _fold(u)) < rng.uniform(0.18, 0.28)).astype(np.float32)


def _bubbly(rng: np.random.Generator) -> Field:
    """Outlined circles of many sizes over each other."""
    field = np.zeros_like(_X)
    for _ in range(14):
        x, y = rng.uniform(-1, 1, 2)
        radius = rng.uniform(0.14, 0.42)
        far = np.hypot(_X - x, _Y - y)
        field = np.where(far < radius, (far > radius - 0.09).astype(np.float32), field)
    return field


def _scaly(rng: np.random.Generator) -> Field:
    """Rows of overlapping round scales, each row shifted by half a scale."""
    u, v = _plane(rng, (2.8, 3.8))
    row = np.floor(2 * v)
    field = np.zeros_like(u)
    for behind in (1, 0):  # the row in front is painted last
        line = row - behind
        across = _fold(u + 0.5 * (line % 2))
        far = np.hypot(across, v - line / 2)
        field = np.where(far < 0.56, (far > 0.43).astype(np.float32), field)
    return field


def _cracked(rng: np.random.Generator) -> Field:
    near, second = _nearest(rng, 16)
    return (second - near < rng.uniform(0.06, 0.1)).astype(np.float32)


def _blotchy(rng: np.random.Generator) -> Field:
    level = _smooth(rng, 6)
    return (level > np.quantile(level, rng.uniform(0.4, 0.65))).astype(np.float32)


_FIELDS: dict[str, Callable[[np.random.Generator], Field]] = {
    "striped": _striped,
    "chequered": _chequered,
    "grid": _grid,
    "dotted": _dotted,
    "honeycombed": _honeycombed,
    "marbled": _marbled,
    "spiralled": _spiralled,
    "zigzagged": _zigzagged,
    "bubbly": _bubbly,
    "scaly": _scaly,
    "cracked": _cracked,
    "blotchy": _blotchy,
}


def draw(classname: str, rng: np.random.Generator, split: str = "train") -> NDArray[np.uint8]:
    """One texture, uint8 `[32, 32, 3]`. Computed anew each time, so `split` changes nothing."""
    field = lookup(_FIELDS, classname)(rng)
    field = np.clip(field + 0.06 * _smooth(rng, 8), 0, 1)[..., None]
    first, second = (np.array(colour, dtype=np.float32) for colour in contrasting_pair(rng, gap=90))
    pixels = (field * first + (1 - field) * second).astype(np.uint8)
    sheet = Image.fromarray(pixels).resize((WIDE, WIDE), Image.Resampling.BILINEAR)
    return photograph(rng, sheet)
