"""Which tensors of several models can be merged, which are the same in all of them, and which make the user decide."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, TypeVar

from tatr.errors import TatrError
from tatr.vectors.layout import Parameter


class Described(Protocol):
    """A tensor, unread."""

    @property
    def dtype(self) -> str:
        """As messages call it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""

    @property
    def is_floating(self) -> bool:
        """Whether there is arithmetic for its type."""


class ModelTensors(Protocol):
    """All tensors of a model, in files or in memory."""

    @property
    def path(self) -> Path | str:
        """What messages call the model."""

    @property
    def entries(self) -> Mapping[str, Described]:
        """By name."""

    def has_equal(self, name: str, other: Self) -> bool:
        """Whether a tensor is the same in both."""


Model = TypeVar("Model", bound=ModelTensors)


def sort_tensors(
    base: Model, models: Mapping[str, Model], ignore: Sequence[str], option: str = "--ignore '{}'"
) -> tuple[list[str], dict[str, str]]:
    """The names of the base's tensors that are merged, and those that stay as they are, each with the reason.

    Tensors of a floating-point type in all models are merged. All others must be equal in the models that have them.

    Args:
        base: θ_pre.
        models: θ_k.
        ignore: patterns of tensors that stay as they are in the base.
        option: how messages write that a tensor is to be ignored.

    Raises:
        TatrError: a tensor differs that can't be merged, has another shape, or is not in the base.
    """
    merged: list[str] = []
    left: dict[str, str] = {}
    everywhere = [*base.entries, *(name for model in models.values() for name in model.entries)]
    if idle := [pattern for pattern in ignore if not fnmatch.filter(everywhere, pattern)]:
        raise TatrError(f"{option.format(idle[0])}: no tensor is called so")
    for task, model in models.items():
        extra = [name for name in model.entries if name not in base.entries and not _matches(name, ignore)]
        if extra:
            raise TatrError(
                f"{model.path} ('{task}'): '{extra[0]}'{_more(extra)} not in the base; if it is the same architecture, "
                f"leave such tensors out: {option.format(extra[0])}"
            )
    for name, entry in base.entries.items():
        holders = {task: model for task, model in models.items() if name in model.entries}
        if _matches(name, ignore):
            left[name] = "ignored"
        elif not holders:
            left[name] = "in the base alone"
        elif len(holders) == len(models) and all(m.entries[name].is_floating for m in (base, *models.values())):
            _check_shapes(name, base, models, option)
            merged.append(name)
        elif different := [task for task, model in holders.items() if not base.has_equal(name, model)]:
            absent = ", ".join(f"'{task}'" for task in models.keys() - holders.keys())
            why = f"it is missing in {absent}" if absent else f"its type ({entry.dtype}) has no arithmetic here"
            raise TatrError(
                f"'{name}' differs between the base and '{different[0]}' and can't be merged, as {why}; "
                f"keep the base's: {option.format(name)}"
            )
        else:
            left[name] = "equal in all models"
    if not merged:
        raise TatrError(f"{base.path}: nothing to merge: no floating-point tensor is in all models")
    return merged, left


def _check_shapes(name: str, base: Model, models: Mapping[str, Model], option: str) -> None:
    parameter = Parameter(name, base.entries[name].shape, 0)
    keep = option.format(name)
    advice = f"if a vocabulary was resized, resize the base's in the same way, or keep the base's tensor: {keep}"
    for task, model in models.items():
        parameter.check_shape(model.entries[name].shape, f"{model.path} ('{task}')", advice)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _more(names: Sequence[str]) -> str:
    return " is" if len(names) == 1 else f" and {len(names) - 1} more are"
