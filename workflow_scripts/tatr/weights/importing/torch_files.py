"""PyTorch's files as named tensors, without PyTorch: state dicts, pickled modules, TorchScript archives.

A tensor is a view of a storage: offset, size and strides. Storages are read when their tensors are asked for.
"""

import math
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.weights.importing.archives import LegacyFile, Storage, ZipArchive
from tatr.weights.importing.unpickling import Inert, ordered_dict
from tatr.weights.safetensors_file import FLOATS

_KINDS = {"FloatStorage": "F32", "DoubleStorage": "F64", "HalfStorage": "F16", "BFloat16Storage": "BF16"}
_COUNTERS = ("LongStorage", "IntStorage", "BoolStorage")
_QUICK_GELU = {frozenset({"QuickGELU"}): True, frozenset({"GELU"}): False}
_DEEPEST, _MOST = 64, 100_000
"""How deep modules may lie in one another, and how many values they may hold: a pickle can hold itself."""


@dataclass(frozen=True)
class Stored:
    """A tensor as a view of a storage; offset and strides count values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        counts = (self.offset, *self.shape, *self.strides)
        whole = all(type(n) is int and 0 <= n < 2**48 for n in counts)
        if not whole or len(self.shape) != len(self.strides) or len(self.shape) > 8:
            raise ValueError("a tensor's offset, size or strides are no counts")
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        # More entries than the storage has: an expanded view, which could be of any size.
        if self.size > self.storage.numel or (self.size and last >= self.storage.numel):
            raise ValueError("a tensor reaches beyond its storage")

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class TorchFile:
    """A file of `torch.save` or `torch.jit.save`: tensors by the names they have in its module or state dict."""

    def __init__(self, path: Path) -> None:
        """Read the file's pickle; no tensor is read yet.

        Raises:
            TatrError: damaged, or none of PyTorch's formats.
        """
        self.path, self.total = path, path.stat().st_size
        self._archive = ZipArchive(path, CALLS) if zipfile.is_zipfile(path) else LegacyFile(path, CALLS)
        walk = _Walk(str(path))
        walk.visit(self._archive.root, (), 0)
        self._tensors = walk.tensors
        self.names = [name for name, stored in walk.tensors.items() if stored.storage.type not in _COUNTERS]
        """All tensors but counters and indices."""
        module = isinstance(self._archive.root, Inert) and not self._archive.root.items
        self.format = "TorchScript archive" if self._archive.scripted else "pickled module" if module else "state dict"
        # Only OpenAI published CLIP as TorchScript, and its vision transformers all have QuickGELU.
        self.quick_gelu = True if self._archive.scripted else _QUICK_GELU.get(frozenset(walk.activations))
        self._last: tuple[str, bytes] = ("", b"")

    def nbytes(self, name: str) -> int:
        """Bytes that a tensor takes in the file."""
        stored = self._tensors[name]
        return stored.size * np.dtype(FLOATS[self._kind(name)]).itemsize

    def read(self, name: str) -> np.ndarray:
        """One tensor, float32 (a copy)."""
        stored, kind = self._tensors[name], self._kind(name)
        dtype = np.dtype(FLOATS[kind]).newbyteorder(">" if self._archive.big_endian else "<")
        raw = self._bytes(stored.storage)
        if len(raw) != stored.storage.numel * dtype.itemsize:
            raise TatrError(
                f"{self.path}: {name!r} lies in a storage of {len(raw):,} bytes, "
                f"expected {stored.storage.numel * dtype.itemsize:,}; copy or save the file again"
            )
        if not stored.size:
            return np.empty(stored.shape, np.float32)
        values = np.frombuffer(raw, dtype)[stored.offset :]
        strides = [dtype.itemsize * stride for stride in stored.strides]
        view = np.lib.stride_tricks.as_strided(values, stored.shape, strides, writeable=False)
        if kind == "BF16":
            return (np.array(view, np.uint32, order="C") << 16).view(np.float32)
        with np.errstate(over="ignore"):  # becomes infinity, which is refused where it matters
            return np.array(view, np.float32, order="C")

    def _kind(self, name: str) -> str:
        found = self._tensors[name].storage.type
        if found not in _KINDS:
            raise TatrError(f"{self.path}: {name!r} is stored as {found!r}, expected a floating-point type")
        return _KINDS[found]

    def _bytes(self, storage: Storage) -> bytes:
        # The last one is kept: some models have all their parameters in one storage.
        if self._last[0] != storage.key:
            self._last = ("", b"")
            self._last = (storage.key, self._archive.storage(storage))
        return self._last[1]


class _Walk:
    """All tensors of pickled objects, by dotted names as `Module.state_dict` gives them, and the activations seen."""

    def __init__(self, source: str) -> None:
        self.source, self.visited = source, 0
        self.tensors: dict[str, Stored] = {}
        self.activations: set[str] = set()

    def visit(self, value: Any, path: tuple[str, ...], depth: int) -> None:  # noqa: ANN401
        self.visited += 1
        if depth > _DEEPEST or self.visited > _MOST:
            raise TatrError(f"{self.source}: its objects hold one another without end; not a checkpoint")
        if isinstance(value, Stored):
            name = ".".join(path)
            if name in self.tensors or not name.isprintable():
                raise TatrError(f"{self.source}: tensor name {name!r} is twice in it, or no name; not a checkpoint")
            self.tensors[name] = value
        elif isinstance(value, (dict, Inert)):
            for key, item in self._members(value):
                if isinstance(key, str) and isinstance(item, (Stored, dict, Inert)):
                    self.visit(item, (*path, key), depth + 1)

    def _members(self, value: dict[Any, Any] | Inert) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, dict):
            yield from value.items()
            return
        self.activations |= {value.of.rpartition(".")[2]} & {"QuickGELU", "GELU"}
        attributes = value.attributes
        if isinstance(attributes.get("_modules"), dict):  # a module; its other attributes are not in its state
            for group in ("_parameters", "_buffers", "_modules"):
                members = attributes.get(group)
                yield from members.items() if isinstance(members, dict) else ()
        else:  # an object of TorchScript, whose parameters and modules are plain attributes, or a kind of dict
            yield from attributes.items()
            yield from value.items.items()


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> Stored:  # noqa: ANN401
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("a tensor without a storage")
    return Stored(storage, offset, shape, strides)


def _same(tensor: Any, *_: object) -> Any:  # noqa: ANN401
    return tensor


def _of_type(function: Any, _: object, arguments: Any, *__: object) -> Any:  # noqa: ANN401
    # A tensor with attributes of its own.
    return CALLS[function.path](*arguments)


CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _same,
    "torch._utils._rebuild_parameter_with_state": _same,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": tuple,
    "collections.OrderedDict": ordered_dict,
}
"""All that a pickle may call: functions of this file, by the names of PyTorch's."""
