"""What all sections of the config have in common."""

from collections.abc import Callable, Iterator
from functools import cache
from inspect import Parameter
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from tatr.settings import keywords, meaning, rules

LARGEST_SEED = 2**32 - 1
"""What all generators of random numbers take."""


class Section(BaseModel):
    """A part of the config. Keys that it does not know are refused; one without a value takes its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, raw: Any) -> Any:  # noqa: ANN401
        if not isinstance(raw, dict):
            return raw
        # An unknown key is refused even if it has no value.
        return {key: value for key, value in raw.items() if value is not None or key not in cls.model_fields}

    @field_validator("*", mode="before")
    @classmethod
    def _respell(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        """YAML reads 1e-2 as text and pydantic takes `true` for 1: read numbers as numbers, and nothing else."""
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if kinds & {int, float} and any(isinstance(v, bool) for v in _parts(value)):
            raise ValueError  # described by what the field expects
        if int in kinds and isinstance(value, str):
            number = as_number(value)
            return int(number) if number is not None and number.is_integer() else value
        return value + 0.0 if float in kinds and isinstance(value, float) else value  # no -0.0


@cache
def section_of(declared: Callable[..., Any], without: tuple[str, ...] = ()) -> type[Section]:
    """The section that the keyword-only arguments of a recipe or a method make.

    Args:
        declared: a dataclass of `tatr.training.recipes`, or a merging method's function.
        without: arguments that the section leaves out.
    """
    fields: dict[str, Any] = {}
    for name, parameter in keywords(declared).items():
        if name not in without:
            default = ... if parameter.default is Parameter.empty else parameter.default
            checked = [AfterValidator(_checked_by(rule)) for rule in rules(parameter.annotation)]
            annotation = Annotated[parameter.annotation, *checked] if checked else parameter.annotation
            fields[name] = (annotation, Field(default, description=meaning(parameter.annotation)))
    return create_model(declared.__name__, __base__=Section, **fields)


def _checked_by(rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A rule only complains; the value stays."""

    def checked(value: Any) -> Any:  # noqa: ANN401
        rule(value)
        return value

    return checked


def _parts(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else [value]


def _kinds(annotation: Any) -> Iterator[Any]:  # noqa: ANN401
    yield annotation
    for argument in get_args(annotation):
        yield from _kinds(argument)


def as_number(text: str) -> float | None:
    """The number that a text spells, if any."""
    try:
        return float(text)
    except ValueError:
        return None
