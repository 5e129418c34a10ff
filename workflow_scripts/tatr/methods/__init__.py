"""Merging methods: one module each, found by its name; adding a method adds a module and touches nothing else.

A method is a generator function, named like its module, that takes the task vectors and yields the blocks of a merged
direction v; the merged model is θ_pre + λ·v. Its keyword arguments are its settings in the config.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from tatr.errors import TatrError


@dataclass(frozen=True)
class Method:
    """A merging method and what the pipeline must know of it."""

    name: str
    blocks: Callable[..., Iterator[np.ndarray]]
    """`(task_vectors, **settings)` → blocks of the direction, float32, in order."""
    trust_region: Literal["before", "after"]
    """Whether a mask applies to the task vectors before they are merged, or to the merged direction."""
    coefficient: float
    """λ where the config gives none."""

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The settings the config may give, with their types and defaults."""
        return dict(list(inspect.signature(self.blocks).parameters.items())[1:])


def method(
    *, trust_region: Literal["before", "after"], coefficient: float
) -> Callable[[Callable[..., Iterator[np.ndarray]]], Method]:
    """Declare a generator function a merging method."""
    return lambda function: Method(function.__name__, function, trust_region, coefficient)


def names() -> list[str]:
    """All methods there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache
def load(name: str) -> Method:
    """Import one method's module, and no other's."""
    if name not in names():
        raise TatrError(f"method '{name}': unknown; expected one of {', '.join(names())}")
    found: Any = getattr(importlib.import_module(f"tatr.methods.{name}"), name)
    return found
