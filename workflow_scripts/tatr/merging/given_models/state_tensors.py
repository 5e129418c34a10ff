"""Models that callers have in memory: what counts as one, and their tensors, seen as those of files are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from tatr.errors import TatrError

StateDict = Mapping[str, Any]
"""Tensors by name: NumPy arrays or torch tensors."""


@dataclass(frozen=True)
class StateEntry:
    """A tensor in memory."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def is_floating(self) -> bool:
        """Whether it can be merged: the types that files can be merged of, and float128."""
        return re.fullmatch(r"b?float(16|32|64|128)", self.dtype) is not None


@dataclass(frozen=True)
class StateTensors:
    """The tensors of a state dict."""

    path: str
    """What messages call it."""
    state: StateDict

    @cached_property
    def entries(self) -> Mapping[str, StateEntry]:
        """All tensors, in the order of the state dict."""
        return {name: StateEntry(_dtype(tensor), tuple(tensor.shape)) for name, tensor in self.state.items()}

    def has_equal(self, name: str, other: Self) -> bool:
        """Whether a tensor is the same in both: values if it is of a floating-point type in both, else type, too."""
        first, second = self.entries[name], other.entries[name]
        same_type = first.dtype == second.dtype or (first.is_floating and second.is_floating)
        return same_type and np.array_equal(array(self.state[name]), array(other.state[name]))


def state_dict(model: Any, where: str) -> StateDict:  # noqa: ANN401
    """The tensors of a model: of a torch module those that it would save.

    Raises:
        TatrError: it is no model; the message begins with `where`.
    """
    # torch is recognised by what its objects can do, so that NumPy users need not have it.
    if not isinstance(model, Mapping) and callable(own := getattr(model, "state_dict", None)):
        model = own()
    if not isinstance(model, Mapping):
        hint = "; models on disk are merged by merge_files" if isinstance(model, str | Path) else ""
        raise TatrError(f"{where}: is {_kind(model)}, expected a state dict {{name: tensor}} or a torch module{hint}")
    for name, tensor in model.items():
        if not _is_tensor(tensor):
            hint = f"; did you mean its entry '{name}'?" if isinstance(tensor, Mapping) else ""
            raise TatrError(f"{where}: '{name}' is {_kind(tensor)}, expected a torch tensor or a NumPy array{hint}")
    return model


def by_name(models: Any, what: str) -> dict[str, Any]:  # noqa: ANN401
    """Models by name: as the caller names them, or model1, model2 … of a list.

    Raises:
        TatrError: there are none, or it is a single one; the message begins with `what`.
    """
    expected = "expected several models: {name: model} or a list"
    if isinstance(models, list | tuple):
        models = {f"model{index}": model for index, model in enumerate(models, 1)}
    if not isinstance(models, Mapping):
        raise TatrError(f"{what}: is {_kind(models)}, {expected}")
    if not models:
        raise TatrError(f"{what}: is empty, {expected}")
    if single := next((name for name, value in models.items() if _is_tensor(value)), None):
        raise TatrError(f"{what}: is a single state dict ('{single}' is a tensor), {expected}")
    return dict(models)


def array(tensor: Any) -> np.ndarray:  # noqa: ANN401
    """A tensor as an array, floating-point types of torch as float32; other arrays are not copied."""
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    plain = tensor.detach().cpu()
    return (plain.float() if "float" in _dtype(tensor) else plain).numpy()


def _is_tensor(value: Any) -> bool:  # noqa: ANN401
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _dtype(tensor: Any) -> str:  # noqa: ANN401
    return getattr(tensor.dtype, "name", str(tensor.dtype)).removeprefix("torch.")


def _kind(value: Any) -> str:  # noqa: ANN401
    return "None" if value is None else f"of type {type(value).__name__}"
