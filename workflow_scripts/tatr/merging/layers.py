"""The layers of an encoder, from shallow to deep, and sums over each of its parameters."""

import re
from typing import NamedTuple

import numpy as np

from tatr.vectors.layout import BLOCK, Layout, Parameter
from tatr.vectors.threads import in_order
from tatr.vectors.vector import Vector

NUMBERED = re.compile(r"(?:^|\.)(\d+)\.")
PARTS = {"attn": "attention", "mlp": "MLP", "ln": "LayerNorm", "norm": "LayerNorm"}
"""What the parts of a residual block are called, by how their names begin."""


class Place(NamedTuple):
    """Where a parameter belongs."""

    depth: int
    """0 for what comes before the residual blocks, 1 … L for these, L + 1 for what comes after."""
    part: str
    """attention, MLP, LayerNorm, embedding or projection."""
    kind: str
    """weight or bias."""


def places(layout: Layout) -> list[Place]:
    """The place of each parameter, in the layout's order."""
    numbers = [_number(parameter.name) for parameter in layout.parameters]
    last = max((number for number in numbers if number is not None), default=-1)
    return [
        Place(_depth(parameter.name, number, last), _part(parameter.name), _kind(parameter.name))
        for parameter, number in zip(layout.parameters, numbers, strict=True)
    ]


def by_depth(layout: Layout) -> list[list[Parameter]]:
    """The parameters before the residual blocks, in each of these, and after them."""
    depths = [place.depth for place in places(layout)]
    pairs = [*zip(layout.parameters, depths, strict=True)]
    return [[parameter for parameter, at in pairs if at == depth] for depth in range(max(depths, default=0) + 1)]


def layer_name(depth: int, deepest: int) -> str:
    """What figures call a depth."""
    return "stem" if depth == 0 else "head" if depth == deepest else str(depth)


def sums_by_parameter(vector: Vector, layout: Layout) -> np.ndarray:
    """The sum of each parameter's entries, float64 [number of parameters], in the layout's order."""
    return np.array([*in_order(lambda parameter: _sum(vector, parameter), layout.parameters)])


def _sum(vector: Vector, parameter: Parameter) -> float:
    starts = range(parameter.offset, parameter.stop, BLOCK)
    return sum(float(vector[start : min(start + BLOCK, parameter.stop)].sum(dtype=np.float64)) for start in starts)


def _number(name: str) -> int | None:
    found = NUMBERED.search(name)
    return int(found[1]) if found else None


def _depth(name: str, number: int | None, last: int) -> int:
    if number is not None:
        return number + 1
    # open_clip lists `proj` first, but it comes last.
    return last + 2 if re.search(r"(^|\.)(ln_post|proj|norm|head|attnpool)\b", name) else 0


def _part(name: str) -> str:
    words = name.split(".")
    for word in words:
        for start, part in PARTS.items():
            if word.startswith(start):
                return part
    return "projection" if words[-1] == "proj" else "embedding"


def _kind(name: str) -> str:
    return "bias" if name.endswith("bias") else "weight"
