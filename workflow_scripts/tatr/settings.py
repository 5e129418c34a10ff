"""Settings, typed once: a recipe's fields and a method's keywords say type, bounds and meaning in one annotation.

    rank: Annotated[int, Interval(ge=1), "of the modules"] = 16

The annotation adds bounds (`annotated_types.Interval`), functions that raise a ValueError for a bad value, and a text
that says what is meant. The config's sections, their schema and their docs are derived from it
(`tatr.config.section`), and what a job is given is checked against it here. Whatever may be called with keyword-only
arguments will do: a function, or a dataclass with `kw_only`.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import cache
from inspect import Parameter, isfunction
from math import isfinite
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Interval

from tatr.errors import TatrError

SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
KINDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}

T = TypeVar("T")


@cache
def keywords(declared: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword-only arguments of a function or a dataclass, with annotations and defaults."""
    parameters = inspect.signature(declared).parameters
    return {name: parameter for name, parameter in parameters.items() if parameter.kind is Parameter.KEYWORD_ONLY}


def meaning(annotation: Any) -> str | None:  # noqa: ANN401
    """What an annotation says of its setting, if anything."""
    return next((part for part in _constraints(annotation) if isinstance(part, str)), None)


def rules(annotation: Any) -> Iterator[Callable[[Any], Any]]:  # noqa: ANN401
    """The functions of an annotation that raise a ValueError for a bad value."""
    return (part for part in _constraints(annotation) if isfunction(part))


def recipe_of(declared: Callable[..., T], settings: Mapping[str, Any], where: str, others: tuple[str, ...] = ()) -> T:
    """A recipe as settings give it, all fields of it and nothing else.

    Args:
        declared: the recipe's class.
        settings: as read from JSON.
        where: they were given, for errors.
        others: further settings, which are not the recipe's.

    Raises:
        TatrError: a setting is missing, unknown, of another type, or out of its bounds.
    """
    fields = keywords(declared)
    for name in fields:
        if name not in settings:
            raise TatrError(f"{where}: lacks '{name}' (given: {', '.join(settings) or 'nothing'})")
    for name in settings:
        if name not in fields and name not in others:
            raise TatrError(f"{where}: '{name}' is unknown; expected {', '.join((*fields, *others))}")
    for name, field in fields.items():
        check(f"{where}: {name}", settings[name], field.annotation)
    given = {name: settings[name] for name in fields}
    return declared(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def plain_number(given: Any) -> float | None:  # noqa: ANN401
    """A number of Python's or NumPy's as a plain one; None for anything else: texts, truth values, NaN, infinity."""
    if isinstance(given, bool) or not isinstance(given, Real) or not isfinite(given):
        return None
    return float(given)


def check(where: str, value: Any, annotation: Any) -> None:  # noqa: ANN401
    """Raise a TatrError unless a value is of the annotated type, within its bounds, and allowed by its rules."""
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if not _is_a(value, kind):
        raise TatrError(f"{where} = {value!r}: expected {_in_words(kind)}")
    for part in _constraints(annotation):
        if isinstance(part, Interval) and value is not None and not _lies_in(value, part):
            limits = [f"{SIGNS[key]} {limit:g}" for key, limit in asdict(part).items() if limit is not None]
            raise TatrError(f"{where} = {value!r} is out of range, expected {' and '.join(limits)}")
    for rule in rules(annotation):
        try:
            rule(value)
        except ValueError as error:
            raise TatrError(f"{where} = {value!r}: {error}") from error


def _constraints(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _is_a(value: Any, kind: Any) -> bool:  # noqa: ANN401
    if kind is Any or kind is Parameter.empty:
        return True
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return any(_is_a(value, member) for member in get_args(kind))
    if get_origin(kind) is tuple:
        members = get_args(kind)
        if not isinstance(value, list | tuple):
            return False
        if members[-1] is Ellipsis:
            return all(_is_a(member, members[0]) for member in value)
        return len(value) == len(members) and all(map(_is_a, value, members))
    if kind in (int, float):
        return plain_number(value) is not None and (kind is float or isinstance(value, Integral))
    return isinstance(value, kind)


def _in_words(kind: Any) -> str:  # noqa: ANN401
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_in_words, get_args(kind)))
    if get_origin(kind) is tuple:
        members = get_args(kind)
        if members[-1] is Ellipsis:
            return f"a list, each of it {_in_words(members[0])}"
        return f"a list of {len(members)} values"
    return KINDS.get(kind, str(kind))


def _lies_in(value: Any, bounds: Interval) -> bool:  # noqa: ANN401
    return (
        (bounds.ge is None or value >= bounds.ge)
        and (bounds.gt is None or value > bounds.gt)
        and (bounds.le is None or value <= bounds.le)
        and (bounds.lt is None or value < bounds.lt)
    )
