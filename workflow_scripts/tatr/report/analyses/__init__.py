"""Analyses: one module each, found by its name; adding one adds a module here and one in `tatr.report.plots`.

An analysis is a function, named like its module, that takes what it needs as positional arguments and gives the lines
of a table. Its keyword-only arguments are its settings in the config, `Annotated` as those of methods. What it may
need, and how the workflow plans it, is listed in `tatr.workflow.plan.analyses`. Its figure is drawn by the module of
the same name in `tatr.report.plots`, from the table alone, so that a new style computes nothing again.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import Parameter
from typing import Any, Generic, Literal, TypeVar

from tatr.errors import TatrError
from tatr.measuring.predictions import Predictions
from tatr.settings import keywords

Line = dict[str, Any]
"""A line of an analysis's table: figures and texts by column."""

Seeds = Literal["each", "together", "first"]

T = TypeVar("T")


@dataclass(frozen=True)
class Labelled(Generic[T]):
    """One of several things that an analysis looks at, and what the plan says of it."""

    labels: Mapping[str, Any]
    content: T


@dataclass(frozen=True)
class Results:
    """What an evaluation measured."""

    scores: Mapping[str, Any]
    """Those of `tatr.measuring.evaluation.evaluate`."""
    predictions: Mapping[str, Predictions]
    """Per task."""


@dataclass(frozen=True)
class LossPlane:
    """A loss landscape."""

    points: Sequence[Mapping[str, Any]]
    """Per point and task: `x`, `y`, `task`, `loss`, `accuracy`."""
    plane: Mapping[str, Any]
    """That of `tatr.measuring.landscape.Terrain`."""


@dataclass(frozen=True)
class Analysis:
    """An analysis and what the pipeline must know of it."""

    name: str
    title: str
    """Its heading, where people read it."""
    formula: Callable[..., Iterable[Line]]
    """`(*needs, **settings)` → the lines of its table."""
    seeds: Seeds = "each"
    """Of several seeds, whether there is a table of each, one of all together, or one of the first alone."""

    @property
    def needs(self) -> list[str]:
        """What it looks at."""
        signature = inspect.signature(self.formula).parameters.values()
        return [parameter.name for parameter in signature if parameter.kind is not Parameter.KEYWORD_ONLY]

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The settings that the config may give, with their types and defaults."""
        return keywords(self.formula)


def analysis(title: str, *, seeds: Seeds = "each") -> Callable[[Callable[..., Iterable[Line]]], Analysis]:
    """Declare a function an analysis."""
    return lambda function: Analysis(function.__name__, title, function, seeds)


def names() -> list[str]:
    """All analyses there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache
def load(name: str) -> Analysis:
    """Import one analysis's module, and no other's."""
    if name not in names():
        raise TatrError(f"analysis '{name}': unknown; expected one of {', '.join(names())}")
    loaded: Any = getattr(importlib.import_module(f"tatr.report.analyses.{name}"), name, None)
    if not isinstance(loaded, Analysis):
        raise TatrError(f"tatr/report/analyses/{name}.py: has no function `{name}` under @analysis(title)")
    return loaded
