"""A model seen as one flat vector: which parameter lies where.

Every task vector, gradient, sensitivity, mask and merged direction is a one-dimensional array over a layout, so all
arithmetic is a loop over blocks of that array, for a model of any architecture and size.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np

from tatr.errors import TatrError

BLOCK = 2**20
"""Entries handled at once (4 MiB in float32), and in one chunk of a store."""

UNUSABLE = "the checkpoint is not usable"
"""What there is to say of NaN and infinity, where nothing else helps."""


@dataclass(frozen=True)
class Parameter:
    """One named tensor's place in the flat vector (offset and size count entries, not bytes)."""

    name: str
    shape: tuple[int, ...]
    offset: int

    @cached_property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    @cached_property
    def stop(self) -> int:
        """One past the last entry."""
        return self.offset + self.size

    def check_shape(self, shape: Iterable[int], where: str, advice: str = "") -> None:
        """Raise unless a tensor of this name has this shape; `where` begins the message and `advice` ends it."""
        if tuple(shape) != self.shape:
            raise TatrError(
                f"{where}: '{self.name}' has shape {list(shape)}, expected {list(self.shape)}"
                f"{'; ' if advice else ''}{advice}"
            )

    def check_type(self, dtype: str, where: str, *, is_floating: bool) -> None:
        """Raise unless a tensor of this name is of a floating-point type; `dtype` is what the message calls it."""
        if not is_floating:
            raise TatrError(f"{where}: '{self.name}' is {dtype}, expected a floating-point type")

    def check_finite(self, entries: np.ndarray, where: str, advice: str = UNUSABLE) -> None:
        """Raise unless entries of a tensor of this name, of any shape, are finite; `advice` ends the message."""
        if not all_finite(entries):
            raise TatrError(f"{where}: '{self.name}' holds NaN or infinity; {advice}")


@dataclass(frozen=True)
class Layout:
    """The parameters of an encoder, in the encoder's own order, without gaps."""

    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, shapes: Mapping[str, Iterable[int]]) -> "Layout":
        """Lay tensors of the given shapes end to end, in the mapping's order."""
        parameters, offset = [], 0
        for name, shape in shapes.items():
            parameter = Parameter(name, tuple(shape), offset)
            parameters.append(parameter)
            offset = parameter.stop
        return cls(tuple(parameters))

    @classmethod
    def load(cls, path: Path) -> "Layout":
        """Read what `save` wrote."""
        return cls.of(json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Write names and shapes as JSON; offsets follow from them."""
        path.write_text(json.dumps({p.name: p.shape for p in self.parameters}, indent=1) + "\n", encoding="utf-8")

    @cached_property
    def size(self) -> int:
        """N, the number of merged parameters: the denominator of τ."""
        return self.parameters[-1].stop if self.parameters else 0

    @cached_property
    def digest(self) -> str:
        """Identifies the layout: two vectors may be combined only if theirs agree."""
        text = json.dumps([(p.name, p.shape) for p in self.parameters])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def blocks(self) -> Iterator[slice]:
        """The flat vector cut into blocks of `BLOCK` entries, in order."""
        return blocks(self.size)

    def flatten(self, tensors: Mapping[str, np.ndarray], where: str = "the state dict") -> np.ndarray:
        """Pack tensors into one float32 vector [N].

        Raises:
            TatrError: a tensor is missing, superfluous, of another shape, not floating point, or not finite.
        """
        self.check_names(tensors, where)
        flat = np.empty(self.size, np.float32)
        for parameter in self.parameters:
            tensor = np.asarray(tensors[parameter.name])
            self.check_tensor(parameter, tensor, where)
            flat[parameter.offset : parameter.stop] = tensor.reshape(-1)
        return flat

    def unflatten(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Views of a flat vector [N], by name and in shape; nothing is copied."""
        if flat.shape != (self.size,):
            raise TatrError(f"a flat vector of shape {flat.shape} does not fit a layout of {self.size:,} entries")
        return {p.name: flat[p.offset : p.stop].reshape(p.shape) for p in self.parameters}

    def check_names(self, names: Iterable[str], where: str) -> None:
        """Raise unless `names` are exactly the layout's parameters; `where` begins the message."""
        given, expected = set(names), {p.name for p in self.parameters}
        if missing := sorted(expected - given):
            raise TatrError(f"{where}: {_listed(missing)} missing; is it a checkpoint of another architecture?")
        if extra := sorted(given - expected):
            raise TatrError(f"{where}: {_listed(extra)} not part of the encoder; is it of another architecture?")

    @staticmethod
    def check_tensor(parameter: Parameter, tensor: np.ndarray, where: str) -> None:
        """Raise unless `tensor` has the parameter's shape, a floating-point type and only finite values."""
        parameter.check_shape(tensor.shape, where)
        parameter.check_type(str(tensor.dtype), where, is_floating=np.issubdtype(tensor.dtype, np.floating))
        parameter.check_finite(tensor, where)


def all_finite(values: np.ndarray) -> bool:
    """Whether no value is NaN or infinite, of any floating-point type."""
    # A sum over NaN or infinity is not finite, and takes a tenth of the time of a look at each value. It may also be
    # too large a number.
    with np.errstate(over="ignore", invalid="ignore"):
        total = values.sum(dtype=np.result_type(values, np.float32))
    return bool(np.isfinite(total) or np.isfinite(values).all())


def blocks(size: int) -> Iterator[slice]:
    """Cut `size` entries into slices of at most `BLOCK`, in order."""
    return cut(slice(0, size), BLOCK)


def cut(span: slice, step: int) -> Iterator[slice]:
    """Cut a slice into consecutive ones of at most `step` entries."""
    return (slice(start, min(start + step, span.stop)) for start in range(span.start, span.stop, step))


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{shown}{more} {'is' if len(names) == 1 else 'are'}"
