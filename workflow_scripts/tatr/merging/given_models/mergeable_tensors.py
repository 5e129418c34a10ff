"""Which tensors of several models can be merged, which are the same in all of them, and which make the user decide."""

import fnmatch
from collections.abc import Callable, Collection, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Protocol, Self, TypeVar

from tatr.errors import TatrError
from tatr.merging.given_models.renamed import renaming
from tatr.vectors.layout import Parameter
from tatr.weights.adapters import REMEDY, adapter_tensor

SMALL = ("F4", "F6", "F8")
"""How floating-point types of 8 bits or fewer are called in files."""


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
    base: Model, models: Mapping[str, Model], ignore: str | Sequence[str], option: Callable[[str], str]
) -> tuple[list[str], dict[str, str]]:
    """The names of the base's tensors that are merged, and those that stay as they are, each with the reason.

    Tensors of a floating-point type in all models are merged, if they have entries. All others must be equal in the
    models that have them.

    Args:
        base: θ_pre.
        models: θ_k.
        ignore: a name or several, or patterns of names, of tensors that stay as they are in the base.
        option: how messages write that a tensor is to be ignored.

    Raises:
        TatrError: a tensor differs that can't be merged, has another shape, or is not in the base; or a model is an
            adapter, or has other names throughout.
    """
    ignored = _ignored(base, models, [ignore] if isinstance(ignore, str) else ignore, option)
    _check_adapters(base, models, ignored)
    for task, model in models.items():
        _check_names(base, model, f"{model.path} ('{task}')", ignored, option)
    merged: list[str] = []
    left: dict[str, str] = {}
    for name, entry in base.entries.items():
        holders = {task: model for task, model in models.items() if name in model.entries}
        if name in ignored:
            left[name] = "ignored"
        elif not holders:
            left[name] = "in the base alone"
        elif len(holders) == len(models) and all(m.entries[name].is_floating for m in (base, *models.values())):
            _check_shapes(name, base, models, option)
            if prod(entry.shape):
                merged.append(name)
            else:
                left[name] = "has no entries"
        elif different := [task for task, model in holders.items() if not base.has_equal(name, model)]:
            absent = ", ".join(f"'{task}'" for task in models if task not in holders)
            why = f"it is missing in {absent}" if absent else _without_arithmetic(name, base, models)
            raise TatrError(
                f"'{name}' differs between the base and '{different[0]}' and can't be merged, as {why}; "
                f"keep the base's: {option(name)}"
            )
        else:
            left[name] = "equal in all models"
    if not merged:
        raise TatrError(f"{base.path}: nothing to merge: no floating-point tensor with entries is in all models")
    return merged, left


def if_not_finite(option: Callable[[str], str]) -> Callable[[str], str]:
    """What to do about a tensor that holds NaN or infinity; `option` is that of `sort_tensors`."""
    return lambda name: f"leave it as it is in the base ({option(name)}), or give another checkpoint"


def _ignored(base: Model, models: Mapping[str, Model], ignore: Sequence[str], option: Callable[[str], str]) -> set[str]:
    """All names that are ignored. A pattern that is a name means this tensor alone: names may have brackets."""
    everywhere = dict.fromkeys([*base.entries, *(name for model in models.values() for name in model.entries)])
    found: set[str] = set()
    for pattern in ignore:
        meant = [pattern] if pattern in everywhere else [n for n in everywhere if fnmatch.fnmatchcase(n, pattern)]
        if not meant:
            raise TatrError(f"{option(pattern)}: no tensor is called so")
        found.update(meant)
    return found


def _check_adapters(base: Model, models: Mapping[str, Model], ignored: Collection[str]) -> None:
    # To ignore an adapter would give the base.
    where = {f"{base.path}": base} | {f"{model.path} ('{task}')": model for task, model in models.items()}
    for text, model in where.items():
        given = [name for name in model.entries if name not in ignored]
        extra = [name for name in given if name not in base.entries]
        if name := adapter_tensor(given) or adapter_tensor(extra, widely=True):
            raise TatrError(f"{text}: holds an adapter (LoRA or its kin: '{name}'), not only whole weights; {REMEDY}")


def _check_names(base: Model, model: Model, where: str, ignored: Collection[str], option: Callable[[str], str]) -> None:
    wanted, given = (dict.fromkeys(n for n in tensors.entries if n not in ignored) for tensors in (base, model))
    if cause := renaming(wanted, given):
        raise TatrError(f"{where}: {cause}; rename the tensors of one like the other's, and save it again")
    extra = [name for name in given if name not in base.entries]
    lacking = [name for name in wanted if name not in model.entries]
    if extra and 2 * len(lacking) > len(wanted):
        raise TatrError(
            f"{where}: lacks {len(lacking)} of the base's {len(wanted)} tensors ('{lacking[0]}' …) and has others "
            f"('{extra[0]}' …); is it of the same architecture?"
        )
    if extra:
        more = " is" if len(extra) == 1 else f" and {len(extra) - 1} more are"
        raise TatrError(
            f"{where}: '{extra[0]}'{more} not in the base; if it is the same architecture, "
            f"leave such tensors out: {option(extra[0])}"
        )


def _without_arithmetic(name: str, base: Model, models: Mapping[str, Model]) -> str:
    """The first type of a tensor that can't be merged; only a model's may be such a one."""
    dtype, where = base.entries[name].dtype, ""
    if base.entries[name].is_floating:
        task = next(task for task, model in models.items() if not model.entries[name].is_floating)
        dtype, where = models[task].entries[name].dtype, f" in '{task}'"
    quantised = ", which is for inference: save the whole model in bfloat16 or float32" if dtype[:2] in SMALL else ""
    return f"its type{where} ({dtype}) has no arithmetic here{quantised}"


def _check_shapes(name: str, base: Model, models: Mapping[str, Model], option: Callable[[str], str]) -> None:
    parameter = Parameter(name, base.entries[name].shape, 0)
    keep = option(name)
    advice = f"if a vocabulary was resized, resize the base's in the same way, or keep the base's tensor: {keep}"
    for task, model in models.items():
        parameter.check_shape(model.entries[name].shape, f"{model.path} ('{task}')", advice)
