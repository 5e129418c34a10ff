"""On which images gradients, Fisher information and Gram matrices are measured."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval


@dataclass(frozen=True, kw_only=True)
class Exemplars:
    """Training images that stand for a task where something is measured on it."""

    count: Annotated[int, Interval(ge=1), "per task"] = 128
    seed: Annotated[int, Interval(ge=0), "of the draw"]


def _ascending(counts: tuple[int, ...]) -> None:
    if not counts or min(counts) < 1 or list(counts) != sorted(set(counts)):
        raise ValueError("expected whole numbers from 1 up, in ascending order")


@dataclass(frozen=True, kw_only=True)
class ExemplarCounts:
    """Training images over which gradients are averaged: the first ones of one draw, for several counts at once."""

    counts: Annotated[tuple[int, ...], _ascending, "per task"]
    seed: Annotated[int, Interval(ge=0), "of the draw"]
