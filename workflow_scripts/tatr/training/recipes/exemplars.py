"""On which images gradients, Fisher information and Gram matrices are measured."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval


@dataclass(frozen=True, kw_only=True)
class Exemplars:
    """Training images that stand for a task where something is measured on it."""

    count: Annotated[int, Interval(ge=1), "per task"] = 128
    seed: Annotated[int, Interval(ge=0), "of the draw"]
