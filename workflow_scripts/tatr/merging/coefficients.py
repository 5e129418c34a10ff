"""λ as one number, or as one per tensor by patterns of names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.settings import plain_number
from tatr.vectors.apply import Direction
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector, computed


@dataclass(frozen=True)
class ByTensor:
    """λ by patterns of names, of which the first that matches counts."""

    patterns: tuple[tuple[str, float], ...]
    otherwise: float
    """Where no pattern matches: the method's default."""

    @classmethod
    def of(cls, patterns: Mapping[str, Any], otherwise: float) -> "ByTensor":
        """As people write it.

        Raises:
            TatrError: there is no pattern, or a λ is no finite number.
        """
        if not patterns:
            raise TatrError("coefficient: has no pattern; give {PATTERN: λ}, or one λ")
        return cls(tuple((str(p), _number(value, f"'{p}': ")) for p, value in patterns.items()), otherwise)

    @classmethod
    def load(cls, settings: Mapping[str, Any]) -> "ByTensor":
        """Read what `settings` gave."""
        return cls(tuple((pattern, value) for pattern, value in settings["patterns"]), settings["otherwise"])

    def __str__(self) -> str:
        """As tables show it."""
        stated = [f"{value:g} ({pattern})" for pattern, value in self.patterns]
        return ", ".join(stated if self.patterns[-1][0] == "*" else [*stated, f"{self.otherwise:g} elsewhere"])

    @property
    def settings(self) -> dict[str, Any]:
        """As settings of a job; a list, as the order of patterns counts."""
        return {"patterns": [[*pair] for pair in self.patterns], "otherwise": self.otherwise}

    def values(self, names: Sequence[str]) -> list[float]:
        """λ of each tensor.

        Raises:
            TatrError: a pattern matches no name, or none that those before it leave; but for a last `*`.
        """
        taken: list[str | None] = [self._first(name) for name in names]
        for index, (pattern, _) in enumerate(self.patterns):
            if pattern in taken or (pattern == "*" and index == len(self.patterns) - 1):
                continue
            if not (hidden := next((name for name in names if fnmatchcase(name, pattern)), None)):
                raise TatrError(
                    f"coefficient: '{pattern}': no merged tensor is called so; they are called as '{names[0]}'"
                )
            raise TatrError(
                f"coefficient: '{pattern}': '{self._first(hidden)}' before it takes all that it matches; put it first"
            )
        by_pattern = dict(self.patterns)
        return [self.otherwise if pattern is None else by_pattern[pattern] for pattern in taken]

    def _first(self, name: str) -> str | None:
        return next((pattern for pattern, _ in self.patterns if fnmatchcase(name, pattern)), None)


def coefficient_of(given: float | Mapping[str, float] | None, default: float) -> float | ByTensor:
    """λ as a caller gave it: a number, or by patterns; None takes the method's default.

    Raises:
        TatrError: there is no pattern, or a λ is no finite number.
    """
    if isinstance(given, Mapping):
        return ByTensor.of(given, default)
    return default if given is None else _number(given)


def of_setting(setting: Any) -> float | ByTensor:  # noqa: ANN401
    """λ as a job's settings have it."""
    return ByTensor.load(setting) if isinstance(setting, Mapping) else setting


def stated(coefficient: float | ByTensor) -> str:
    """λ as text."""
    return str(coefficient) if isinstance(coefficient, ByTensor) else f"{coefficient:g}"


def per_tensor(coefficient: float | ByTensor, layout: Layout) -> list[float]:
    """λ of each parameter, in the layout's order."""
    if isinstance(coefficient, ByTensor):
        return coefficient.values([parameter.name for parameter in layout.parameters])
    return [coefficient] * len(layout.parameters)


def scaled(direction: Direction, coefficient: ByTensor, layout: Layout) -> Direction:
    """λ·v, which is added to θ_pre with the factor 1: a vector, or blocks, as v is.

    Raises:
        TatrError: a pattern matches nothing.
    """
    if not isinstance(direction, Iterator):
        return scaled_vector(direction, coefficient, layout)
    factors = _factors(coefficient, layout)
    return (factors(block) * entries for block, entries in zip(layout.blocks(), direction, strict=True))


def scaled_vector(vector: Vector, coefficient: ByTensor, layout: Layout) -> Vector:
    """The same of a vector v, computed on access."""
    factors = _factors(coefficient, layout)
    return computed(lambda block: factors(block) * vector[block], vector)


def _number(given: Any, where: str = "") -> float:  # noqa: ANN401
    if (number := plain_number(given)) is None:
        raise TatrError(f"coefficient: {where}{given!r}: expected a number")
    return number


def _factors(coefficient: ByTensor, layout: Layout) -> Callable[[slice], np.ndarray]:
    """λ of each entry of a block, float32."""
    with np.errstate(over="ignore"):  # becomes an infinity, which is refused where it is written
        values = np.array(per_tensor(coefficient, layout), np.float32)
    stops = np.array([parameter.stop for parameter in layout.parameters])

    def factors(block: slice) -> np.ndarray:
        first, last = np.searchsorted(stops, [block.start, block.stop - 1], side="right")
        counts = np.diff(np.clip(stops[first : last + 1], block.start, block.stop), prepend=block.start)
        return np.repeat(values[first : last + 1], counts)

    return factors
