"""Merging methods: one module each, found by its name; adding a method adds a module and changes nothing else.

A method is a function, named like its module, that takes the task vectors (and what else it needs of
`tatr.merging.merge.MergeInputs`, as further positional arguments) and gives a merged direction v: a vector if each
block of it can be computed by itself, else an iterator over its blocks; the merged model is θ_pre + λ·v. One in which
tasks may have weights takes `weights: Weights = None` as the last of these arguments.

Its keyword-only arguments are its settings in the config, `Annotated` with bounds (an `annotated_types.Interval`) and
what they mean. Its docstring is its page: the formula first.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any

from tatr.errors import TatrError
from tatr.settings import check, keywords
from tatr.vectors.apply import Direction

ARGUMENTS = ("calibration", "coefficient", "gradients", "ignore", "sensitivity", "tau", "weights")
"""What stands beside a method's settings where one merges; a name that is nearly one of them is told so."""


@dataclass(frozen=True)
class Method:
    """A merging method and what the pipeline must know of it."""

    name: str
    title: str
    """What tables call it."""
    formula: Callable[..., Direction]
    """`(task_vectors, *needs, **settings)` → v, float32 [N]."""
    coefficient: float
    """λ where the config gives none."""
    calibration_alpha: float | None = None
    """α of `tatr.merging.calibration` where the config gives none; None for 1/K."""
    equal_singular_values: bool = False
    """Whether the singular values of each of its matrices are equal, so that its singular vectors are arbitrary."""
    refuses: Callable[[Mapping[str, Any], int], str | None] | None = None
    """Takes all settings, each within its bounds, and K; says why they don't go together, if so."""

    @property
    def needs(self) -> list[str]:
        """What it takes in addition to the task vectors, fields of `tatr.merging.merge.MergeInputs`."""
        return [name for name in self._positional[1:] if name != "weights"]

    @property
    def takes_weights(self) -> bool:
        """Whether tasks may have weights (`tatr.merging.task_weights`)."""
        return "weights" in self._positional

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The settings the config may give, with their types and defaults."""
        return keywords(self.formula)

    @property
    def _positional(self) -> list[str]:
        parameters = inspect.signature(self.formula).parameters.values()
        return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise unless every setting is one of its own, of its type and within its bounds."""
        if unknown := next((name for name in settings if name not in self.parameters), None):
            close = get_close_matches(unknown, [*self.parameters, *ARGUMENTS], 1)
            others = [name for name in names() if unknown in load(name).parameters]
            meant = f"did you mean {close[0]}? " if close else ""
            meant = f"that is one of {', '.join(others)}; " if others else meant
            taken = ", ".join(self.parameters) or "none"
            raise TatrError(f"{self.name}: takes no setting {unknown} ({meant}its settings: {taken})")
        for name, value in settings.items():
            check(f"{self.name}: {name}", value, self.parameters[name].annotation)

    def check_together(self, settings: Mapping[str, Any], tasks: int) -> None:
        """Raise unless settings, which `check` lets pass, go together where so many tasks are merged."""
        defaults = {name: parameter.default for name, parameter in self.parameters.items()}
        if self.refuses and (reason := self.refuses({**defaults, **settings}, tasks)):
            raise TatrError(f"{self.name}: {reason}")


def method(
    title: str,
    *,
    coefficient: float,
    calibration_alpha: float | None = None,
    equal_singular_values: bool = False,
    refuses: Callable[[Mapping[str, Any], int], str | None] | None = None,
) -> Callable[[Callable[..., Direction]], Method]:
    """Declare a function a merging method; what is declared are the fields of `Method`."""
    return lambda function: Method(
        function.__name__, title, function, coefficient, calibration_alpha, equal_singular_values, refuses
    )


def refusal_of_weights(method: Method) -> str | None:
    """Why tasks can't have weights in a method, if so."""
    if method.takes_weights:
        return None
    taking = [name for name in names() if load(name).takes_weights]
    return f"{method.name} has no weights of tasks; methods that have: {', '.join(taking)}"


def names() -> list[str]:
    """All methods there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def meant(name: str) -> str | None:
    """The method that an unknown name was probably meant for; tables' names for methods are known, too."""
    called = [(text, its) for its in names() for text in (load(its).title, its)]
    of = {re.sub(r"[^a-z+]", "", text.lower()): its for text, its in called}
    close = get_close_matches(re.sub(r"[^a-z+]", "", name.lower()), of, 1)
    return of[close[0]] if close else None


@cache
def load(name: str) -> Method:
    """Import one method's module, and no other's."""
    if name not in names():
        advice = f"; did you mean {close}?" if (close := meant(name)) else ""
        raise TatrError(f"method '{name}': unknown; expected one of {', '.join(names())}{advice}")
    loaded: Any = getattr(importlib.import_module(f"tatr.merging.methods.{name}"), name)
    return loaded
