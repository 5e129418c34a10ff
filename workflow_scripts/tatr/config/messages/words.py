"""Which values a key takes, in words: for error messages and for the commented defaults."""

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

LONGEST_NAME = 100
"""Characters of the name of a task or a run, as it becomes part of names of files."""

KINDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Any: "a value"}


def bare(annotation: Any) -> Any:  # noqa: ANN401
    """A type without what `Annotated` adds."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def members(annotation: Any) -> list[Any]:  # noqa: ANN401
    """The types of a union, or the one type that it is."""
    kind = bare(annotation)
    return [m for m in get_args(kind) if m is not type(None)] if get_origin(kind) in (Union, UnionType) else [kind]


def is_section(annotation: Any) -> bool:  # noqa: ANN401
    """Whether it is a model with keys of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def of_field(field: FieldInfo) -> Any:  # noqa: ANN401
    """The type of a field with all its constraints."""
    return Annotated[field.annotation, *field.metadata, ...]


def expected(annotation: Any) -> str:  # noqa: ANN401
    """Which values a type takes.

    >>> expected(Annotated[float, annotated_types.Ge(0), annotated_types.Lt(1)])
    'a number from 0 to below 1'
    """
    kind, constraints = bare(annotation), get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    if len(kinds := members(kind)) > 1 and all(is_section(bare(member)) for member in kinds):
        return "a section such as {source: folder, root: PATH}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(expected(Annotated[member, *constraints, ...]) for member in members(kind))
    if get_origin(kind) is Annotated:
        return expected(Annotated[bare(kind), *get_args(kind)[1:], *constraints])
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) in (list, tuple):
        return _expected_list(kind, _limits(constraints))
    if get_origin(kind) is dict:
        return "a section: NAME: value, one line each"
    if is_section(kind):
        keys = ", ".join(name for name in kind.model_fields if name != "settings")
        if not keys:
            return "{}"
        return "{search: [number, number, ...]}" if keys == "search" else f"a section with keys out of {keys}"
    limits = _limits(constraints)
    return name_expected() if "pattern" in limits else KINDS.get(kind, str(kind)) + _range(limits)


def name_expected(written: str = "") -> str:
    """What a name must look like, with a valid name close to the one that was written."""
    valid = re.sub(r"\W", "_", written, flags=re.ASCII)[:LONGEST_NAME]
    length = f", of {LONGEST_NAME} characters at most" if len(written) > LONGEST_NAME else ""
    advice = f", such as '{valid}'" if re.match("[A-Za-z]", valid) else ""
    return f"a name of letters, digits and _ that starts with a letter{length}{advice}"


def _expected_list(kind: Any, limits: dict[str, Any]) -> str:  # noqa: ANN401
    item = bare(get_args(kind)[0])
    kinds = {int: "whole numbers", float: "numbers", str: "texts"}
    items = "sections" if is_section(item) else kinds.get(item, "values")
    if get_origin(item) is tuple:
        return f"a list, each of it {_expected_list(item, {})}"
    if get_origin(kind) is tuple and get_args(kind)[-1] is not Ellipsis:
        return f"a list of {len(get_args(kind))} {items}"
    return f"a list of {limits['min_length']} or more {items}" if "min_length" in limits else f"a list of {items}"


def _limits(constraints: tuple[Any, ...]) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    for constraint in constraints:
        for part in constraint.metadata if isinstance(constraint, FieldInfo) else [constraint]:
            names = ("ge", "gt", "le", "lt", "min_length", "pattern")
            limits |= {name: getattr(part, name) for name in names if getattr(part, name, None) is not None}
    return limits


def _range(limits: dict[str, Any]) -> str:
    low = f"from {limits['ge']}" if "ge" in limits else f"above {limits['gt']}" if "gt" in limits else ""
    high = f"to {limits['le']}" if "le" in limits else f"below {limits['lt']}" if "lt" in limits else ""
    if low and not high:
        return f" {low}{' up' if 'ge' in limits else ''}"
    joint = " and up " if "gt" in limits and "le" in limits else " " if not low or "le" in limits else " to "
    joint = " and " if "gt" in limits and "lt" in limits else joint
    return f" {low}{joint}{high}".replace("  ", " ") if high else ""
