"""CLIP models on disk, as tensors by open_clip's names: recognised by content, read on demand."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tatr.errors import TatrError
from tatr.weights.adapters import REMEDY, adapter_tensor, is_adapter_folder
from tatr.weights.file_kinds import ENDINGS, is_hidden, known_kind
from tatr.weights.hub_cache import model_folder
from tatr.weights.importing.names import KNOWN, NameMap, TensorParts, kind_of_copy, map_names
from tatr.weights.importing.torch_files import TorchFile
from tatr.weights.json_object import json_object
from tatr.weights.safetensors_file import SafetensorsFile
from tatr.weights.shard_index import check_weight_map, read_weight_map

FILES = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""What open_clip and transformers call the weights in a model's folder."""

ZERO_SHOT = ("zeroshot", "zero_shot")
"""What the copy of a model before fine-tuning is called, but for its ending."""

FORMATS = "files of torch.save (state dicts, whole modules, TorchScript) and safetensors"


class Tensors(Protocol):
    """A file of named tensors."""

    path: Path
    format: str
    quick_gelu: bool | None
    """The activation, where the file states it."""
    total: int
    """Bytes on disk."""
    names: list[str]
    """All tensors but counters and indices."""
    everything: list[str]
    """All tensors."""

    def nbytes(self, name: str) -> int:
        """Bytes that a tensor takes in the file."""

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""

    def read(self, name: str) -> np.ndarray:
        """One tensor, float32 (a copy)."""


class Clip(Mapping[str, np.ndarray]):
    """A CLIP model from elsewhere: float32 tensors by open_clip's names, read one at a time, on access."""

    def __init__(self, path: Path, *, text: bool = True) -> None:
        """Recognise the model; only names are read.

        Args:
            path: a file, or a folder as open_clip or transformers write it.
            text: whether the text tower and the logit scale are wanted, where there are any.

        Raises:
            TatrError: unknown format, damaged, or not a CLIP model.
        """
        self.path = path
        try:
            self._file = _open(path)
        except OSError as error:
            raise TatrError(f"{path}: can't be read ({error.strerror})") from error
        names = self._one_of(map_names(self._file.names, str(self._file.path)))
        self._parts = {name: parts for name, parts in names.parts.items() if text or name.startswith("visual.")}
        if adapter := adapter_tensor(self._parts):
            raise TatrError(f"{path}: has an adapter (LoRA) in it: '{adapter}'; {REMEDY}")
        self.format, self.family = f"{self._file.format}, {names.family} names", names.family
        """What wrote the file, and whose names it uses."""
        used = {name for parts in self._parts.values() for name in parts.names}
        self.dropped = sorted(set(self._file.names) - used)
        """Names in the file that were not needed or not in the model."""
        claimed = sum(self._file.nbytes(name) for name in used)
        if claimed > self._file.total:
            raise TatrError(
                f"{path}: its tensors would have {claimed:,} bytes, but the file has only {self._file.total:,}; "
                "save it again, with a storage for each tensor"
            )

    @property
    def quick_gelu(self) -> bool | None:
        """Whether the model was made with QuickGELU (else plain GELU); None if unknown."""
        if self._file.quick_gelu is not None:
            return self._file.quick_gelu
        return _stated_activation(self._file.path.parent, self.family)

    def _one_of(self, maps: Sequence[NameMap]) -> NameMap:
        """The model, of those that the names tell of: the largest, if all image towers are equal."""
        for other in maps[1:]:
            if not all(self._equal(maps[0].parts.get(name), parts) for name, parts in _image_towers(maps[0], other)):
                roots = ", ".join(f"'{names.root}'" for names in maps)
                told = "".join(f"; '{names.root}' {kind}" for names in maps if (kind := kind_of_copy(names.root)))
                raise TatrError(
                    f"{self._file.path}: holds {len(maps)} image encoders ({roots}), which differ{told}; save the one "
                    "you mean in a file of its own"
                )
        return max(maps, key=lambda names: len(names.parts))

    def _equal(self, one: TensorParts | None, other: TensorParts | None) -> bool:
        if one is None or other is None:
            return False
        return one == other or np.array_equal(self._read(one), self._read(other))

    def __getitem__(self, name: str) -> np.ndarray:
        return self._read(self._parts[name])

    def _read(self, parts: TensorParts) -> np.ndarray:
        tensors = [self._file.read(part) for part in parts.names]
        whole = tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
        return np.ascontiguousarray(whole.T) if parts.transposed else whole

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        parts = self._parts[name]
        first, *others = (self._file.shape(part) for part in parts.names)
        whole = (first[0] + sum(other[0] for other in others), *first[1:]) if others else first
        return whole[::-1] if parts.transposed else whole

    def __contains__(self, name: object) -> bool:
        return name in self._parts  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def _image_towers(one: NameMap, other: NameMap) -> list[tuple[str, TensorParts | None]]:
    """The names in either image tower, with what they are in the other one."""
    names = sorted(name for name in {*one.parts, *other.parts} if name.startswith("visual."))
    return [(name, other.parts.get(name)) for name in names]


class _Safetensors:
    """A safetensors file."""

    format = "safetensors"
    quick_gelu: bool | None = None

    def __init__(self, path: Path) -> None:
        self.path, self.total = path, path.stat().st_size
        self._file = SafetensorsFile(path)
        self.names = [name for name, entry in self._file.entries.items() if entry.dtype not in ("I64", "I32", "BOOL")]
        self.everything = [*self._file.entries]

    def nbytes(self, name: str) -> int:
        return self._file.entries[name].nbytes

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file.entries[name].shape)

    def read(self, name: str) -> np.ndarray:
        return self._file.read(name).reshape(self._file.entries[name].shape)


class _Shards:
    """Several files that together hold one model, as an index file lists them."""

    def __init__(self, index: Path) -> None:
        self.path = index
        weight_map = read_weight_map(index)
        files = {name: _file(index.parent / name) for name in sorted(set(weight_map.values()))}
        check_weight_map(index, weight_map, {shard: file.everything for shard, file in files.items()})
        self._of = {name: files[shard] for name, shard in weight_map.items()}
        self.format = f"{next(iter(files.values())).format} in parts"
        self.quick_gelu: bool | None = None
        self.total = sum(file.total for file in files.values())
        self.names = [name for file in files.values() for name in file.names]
        self.everything = [*self._of]

    def nbytes(self, name: str) -> int:
        return self._of[name].nbytes(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._of[name].shape(name)

    def read(self, name: str) -> np.ndarray:
        return self._of[name].read(name)


def _open(path: Path) -> Tensors:
    if path.is_dir():
        path = _in_folder(model_folder(path))
    return _Shards(path) if path.name.endswith(".index.json") else _file(path)


def _in_folder(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    there = sorted(path for path in folder.iterdir() if path.is_file() and not is_hidden(path))
    if is_adapter_folder(folder):
        raise TatrError(f"{folder}: holds an adapter (LoRA), not a whole model; {REMEDY}")
    copies = zero_shot_copies(folder)
    weights = [path for path in there if path.suffix in ENDINGS and path not in copies]
    if len(weights) != 1:
        names = ", ".join(p.name for p in weights[:5]) or "none"
        raise TatrError(
            f"{folder}: which file holds the model? Expected {FILES[0]}, {FILES[2]} or one file of weights, "
            f"found {names}; name the file"
        )
    return weights[0]


def zero_shot_copies(folder: Path) -> list[Path]:
    """Files in a folder that are called as the copy of a model before fine-tuning."""
    return sorted(path for path in folder.iterdir() if path.stem in ZERO_SHOT and path.suffix in ENDINGS)


def _file(path: Path) -> Tensors:
    with path.open("rb") as file:
        head = file.read(64)
    if head[8:9] == b"{":
        return _Safetensors(path)
    if head.startswith((b"PK", b"\x80")):
        return TorchFile(path)
    unknown = f"unknown format (begins with {head[:8]!r}); known are {FORMATS}; {KNOWN}"
    raise TatrError(f"{path}: {known_kind(path) or unknown}")


def _json(path: Path) -> dict[str, Any]:
    try:
        return json_object(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TatrError(f"{path}: not a JSON file ({error}); copy it again") from error


def _stated_activation(folder: Path, family: str) -> bool | None:
    """What the config in the weights' folder says, in the words of the library that wrote it."""
    path = folder / ("open_clip_config.json" if family == "open_clip" else "config.json")
    if not path.is_file():
        return None
    config = _json(path)
    if family == "open_clip":
        model = config.get("model_cfg")
        return bool(model.get("quick_gelu", False)) if isinstance(model, dict) else None
    vision = config.get("vision_config", config)
    if not isinstance(vision, dict) or not str(config.get("model_type")).startswith("clip"):
        return None
    return {"quick_gelu": True, "gelu": False}.get(vision.get("hidden_act", "quick_gelu"))  # as transformers defaults
