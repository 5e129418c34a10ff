"""PyTorch's files as named tensors, without PyTorch: state dicts, pickled modules, TorchScript archives.

A tensor is a view of a storage: offset, size and strides. Storages are read when their tensors are.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.weights.importing.archives import LegacyFile, Storage, ZipArchive
from tatr.weights.importing.unpickling import Inert, items
from tatr.weights.safetensors_file import FLOATS

_KINDS = {"FloatStorage": "F32", "DoubleStorage": "F64", "HalfStorage": "F16", "BFloat16Storage": "BF16"}
_COUNTERS = ("LongStorage", "IntStorage", "BoolStorage")
_QUICK_GELU = {frozenset({"QuickGELU"}): True, frozenset({"GELU"}): False}
_LONGEST = 2**24
"""Characters that the names of all tensors and modules may have together, `_LOOK` more for each. Those of large models
have some hundred thousand; objects that share their members over many levels would have names without end."""
_LOOK = 16
"""Characters that take as long to write as it does to look at a member of an object."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor as a view of a storage; offset and strides count values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        short = len(self.shape) == len(self.strides) <= 8  # first: a long tuple would be copied for every tensor
        if not short or not all(type(n) is int and 0 <= n < 2**48 for n in (self.offset, *self.shape, *self.strides)):
            raise ValueError("a tensor's offset, size or strides are not counts")
        last = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        # More entries than the storage has: an expanded view, which could have any size.
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
        self._archive = ZipArchive(path, CALLS) if _is_zip(path) else LegacyFile(path, CALLS)
        root = self._archive.root
        self._tensors = _named(root, str(path))
        self.names = [name for name, stored in self._tensors.items() if stored.storage.type not in _COUNTERS]
        """All tensors but counters and indices."""
        self.everything = [*self._tensors]
        module = isinstance(root, Inert) and not root.items
        self.format = "TorchScript archive" if self._archive.scripted else "pickled module" if module else "state dict"
        # Only OpenAI published CLIP as TorchScript, and its vision transformers all have QuickGELU.
        self.quick_gelu = True if self._archive.scripted else _QUICK_GELU.get(_activations(root))
        self._last: tuple[str, bytes] = ("", b"")

    def nbytes(self, name: str) -> int:
        """Bytes that a tensor takes in the file."""
        stored = self._tensors[name]
        return stored.size * FLOATS[self._kind(name)].itemsize

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return self._tensors[name].shape

    def read(self, name: str) -> np.ndarray:
        """One tensor, float32 (a copy)."""
        stored, dtype = self._tensors[name], FLOATS[self._kind(name)]
        raw = self._bytes(stored.storage)
        if len(raw) != stored.storage.numel * dtype.itemsize:
            raise TatrError(
                f"{self.path}: {name!r} lies in a storage of {len(raw):,} bytes, "
                f"expected {stored.storage.numel * dtype.itemsize:,}; copy or save the file again"
            )
        if not stored.size:
            return np.empty(stored.shape, np.float32)
        values = np.frombuffer(raw, dtype)
        values = (values.byteswap() if self._archive.big_endian else values)[stored.offset :]
        strides = [dtype.itemsize * stride for stride in stored.strides]
        view = np.lib.stride_tricks.as_strided(values, stored.shape, strides, writeable=False)
        with np.errstate(over="ignore"):  # becomes infinity, which is refused where it matters
            return np.array(view, np.float32, order="C")

    def _kind(self, name: str) -> str:
        storage_type = self._tensors[name].storage.type
        if storage_type not in _KINDS:
            raise TatrError(f"{self.path}: {name!r} is stored as {storage_type!r}, expected a floating-point type")
        return _KINDS[storage_type]

    def _bytes(self, storage: Storage) -> bytes:
        # The last one is kept: some models have all their parameters in one storage.
        if self._last[0] != storage.key:
            self._last = ("", b"")
            self._last = (storage.key, self._archive.storage(storage))
        return self._last[1]


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"  # all of PyTorch's begin with an entry, also damaged ones


def _named(root: Any, where: str) -> dict[str, Stored]:  # noqa: ANN401
    """All tensors of pickled objects by dotted names, as `Module.state_dict` gives them.

    A tensor, module or dict that is in several places has several names. Where one contains itself, however indirectly,
    the name ends. Other objects are followed once, and only what holds tensors at all: configs and trainers often refer
    to one another in circles, through which there are more ways than anybody could go.
    """
    members = _members_that_hold(root)
    followed: set[int] = set()
    tensors: dict[str, Stored] = {}
    # What is open, from the root down: by id, its name and those of its members that are still to come.
    path: dict[int, tuple[str, Iterator[tuple[str, Any]]]] = {0: ("", _members({"": root}))}
    written = 0
    while path:
        prefix, rest = next(reversed(path.values()))
        if (member := next(rest, None)) is None:
            path.popitem()
            continue
        key, value = member
        name = f"{prefix}.{key}" if prefix else key
        # Each look counts, also one that leads nowhere.
        if (written := written + len(name) + _LOOK) > _LONGEST:
            raise TatrError(f"{where}: its objects contain one another endlessly; not a checkpoint")
        if not isinstance(value, Stored):
            if id(value) in path or id(value) in followed:
                continue
            path[id(value)] = (name, chain.from_iterable(members.get(id(group), ()) for group in _groups(value)))
            if isinstance(value, Inert) and not _is_module(value):
                followed.add(id(value))
        elif name in tensors or not name.isprintable():
            raise TatrError(f"{where}: tensor name {name!r} is there twice, or is not a name; not a checkpoint")
        else:
            tensors[name] = value
    return tensors


def _members_that_hold(root: Any) -> dict[int, list[tuple[str, Any]]]:  # noqa: ANN401
    """Of every dict from which a tensor can be reached, by its id: the members that are tensors or lead to one.

    An object's members are those of its `_groups`. Each dict is gone through once, however many objects share it.
    """
    dicts: dict[int, dict[Any, Any]] = {}
    parents: dict[int, list[int]] = {}
    for container in _containers(root):
        for group in _groups(container):
            dicts[id(group)] = group
            if group is not container:
                parents.setdefault(id(group), []).append(id(container))
    nearest = []
    for group in dicts.values():
        for _, value in _members(group):
            if isinstance(value, Stored):
                nearest.append(id(group))
            else:
                parents.setdefault(id(value), []).append(id(group))
    holders: set[int] = set()
    while nearest:
        if (holder := nearest.pop()) not in holders:
            holders.add(holder)
            nearest += parents.get(holder, ())
    return {
        key: [member for member in _members(group) if isinstance(member[1], Stored) or id(member[1]) in holders]
        for key, group in dicts.items()
        if key in holders
    }


def _containers(root: Any) -> Iterator[dict[Any, Any] | Inert]:  # noqa: ANN401
    """Every dict and object within pickled objects, each once."""
    waiting, seen = [root] if isinstance(root, (dict, Inert)) else [], {id(root)}
    gone_through: set[int] = set()
    while waiting:
        yield (container := waiting.pop())
        for group in _groups(container):
            if id(group) in gone_through:
                continue
            gone_through.add(id(group))
            for _, value in _members(group):
                if not isinstance(value, Stored) and id(value) not in seen:
                    seen.add(id(value))
                    waiting.append(value)


def _groups(container: dict[Any, Any] | Inert) -> list[dict[Any, Any]]:
    """The dicts, if not empty, that have a dict's or an object's members; objects may share them."""
    if isinstance(container, dict):
        return [container]
    attributes = container.attributes
    if isinstance(modules := attributes.get("_modules"), dict):
        # A module; its other attributes are not in its state.
        groups = [attributes.get("_parameters"), attributes.get("_buffers"), modules]
    else:  # an object of TorchScript, whose parameters and modules are plain attributes, or a kind of dict
        groups = [attributes, container.items]
    return [group for group in groups if isinstance(group, dict) and group]


def _members(group: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The tensors, dicts and objects in a dict, by their names."""
    for key, value in group.items():
        if isinstance(key, str) and isinstance(value, (Stored, dict, Inert)):
            yield key, value


def _is_module(instance: Inert) -> bool:
    """Whether it is a module of PyTorch's or of TorchScript's."""
    return "_modules" in instance.attributes or instance.of.startswith("__torch__.")


def _activations(root: Any) -> frozenset[str]:  # noqa: ANN401
    """The classes of activations among pickled modules."""
    classes = {container.of.rpartition(".")[2] for container in _containers(root) if isinstance(container, Inert)}
    return frozenset(classes & {"QuickGELU", "GELU"})


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: object) -> Stored:  # noqa: ANN401
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("a tensor without a storage")
    return Stored(storage, offset, shape, strides)


def _same(tensor: Any, *_: object) -> Any:  # noqa: ANN401
    return tensor


def _size(sizes: Any) -> tuple[int, ...]:  # noqa: ANN401
    if not isinstance(sizes, tuple):
        raise ValueError("a tensor's size is not a tuple")
    return sizes


def _of_type(function: Any, _: object, arguments: Any, *__: object) -> Any:  # noqa: ANN401
    # A tensor with attributes of its own. Of what is among the arguments' arguments nobody has counted the entries, so
    # that no function may go through them.
    if function not in (_tensor, _same) or not isinstance(arguments, tuple):
        raise ValueError("a tensor that no function of PyTorch makes")
    return function(*arguments)


CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _same,
    "torch._utils._rebuild_parameter_with_state": _same,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": _size,
    "collections.OrderedDict": items,
}
"""All that a pickle may call: functions of this file, by the names of PyTorch's."""
