"""A model's weights on disk: one safetensors file, or a Hugging Face folder whose tensors lie in several (shards)."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.layout import blocks
from tatr.weights.adapters import REMEDY, is_adapter_folder
from tatr.weights.file_kinds import is_hidden
from tatr.weights.hub_cache import model_folder
from tatr.weights.safetensors_file import Entry, SafetensorsFile, Seen
from tatr.weights.shard_index import check_weight_map, read_weight_map

INDEX = ".safetensors.index.json"
"""How the file ends that says which tensor lies in which shard."""

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class ModelFiles:
    """All tensors of a model of any kind, read slice by slice from the safetensors file that holds them.

    For `merge_files`, which merges models without knowing what they are. One file is a `SafetensorsFile`.
    """

    def __init__(self, path: Path) -> None:
        """Open a safetensors file, or a folder with one or with shards and their index.

        Raises:
            TatrError: nothing is there, a file is damaged or missing, or it is unclear which files are the model.
        """
        self.path = path = model_folder(path)
        index = _index(path)
        weight_map = read_weight_map(index) if index else {}
        files = [path / name for name in sorted(set(weight_map.values()))] or [_single(path)]
        self.files = [SafetensorsFile(file) for file in files]
        self._home = {name: file for file in self.files for name in file.entries}
        if index:
            check_weight_map(index, weight_map, {file.path.name: file.entries for file in self.files})

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """All tensors: shard by shard, and there in the order of their bytes."""
        return {name: entry for file in self.files for name, entry in file.entries.items()}

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        return sum(entry.nbytes for entry in self.entries.values())

    def read(self, name: str, inside: slice) -> np.ndarray:
        """Consecutive entries of a tensor, seen as flat, as float32."""
        return self._home[name].read(name, inside)

    def fill(self, name: str, inside: slice, values: np.ndarray, seen: Seen | None = None) -> None:
        """Read them into an array, float32 [n]; `seen` is told which bytes of the file they are."""
        self._home[name].fill(name, inside, values, seen)

    def home(self, name: str) -> SafetensorsFile:
        """The file that holds a tensor."""
        return self._home[name]

    def has_equal(self, name: str, other: "ModelFiles") -> bool:
        """Whether a tensor is the same in both: values if it is of a floating-point type in both, else bytes."""
        first, second = self.entries[name], other.entries[name]
        if first.shape != second.shape:
            return False
        if first.is_floating and second.is_floating:
            return all(np.array_equal(self.read(name, b), other.read(name, b)) for b in blocks(first.size))
        pairs = zip(self.home(name).pieces(name), other.home(name).pieces(name), strict=True)
        return first.dtype == second.dtype and all(np.array_equal(a, b) for a, b in pairs)


def _single(path: Path) -> Path:
    """The one safetensors file of a folder, or the file that was given."""
    if not path.is_dir():
        if path.name.endswith(INDEX):
            raise TatrError(f"{path}: an index of shards; give the folder that holds it and them: {path.parent}")
        return path
    if is_adapter_folder(path):
        raise TatrError(f"{path}: holds an adapter (LoRA), not a whole model; {REMEDY}")
    files = [file for file in sorted(path.glob("*.safetensors")) if not is_hidden(file)]
    others = sorted(file.name for file in path.iterdir() if file.suffix in PICKLED and not is_hidden(file))
    if len(files) == 1:
        return files[0]
    names = ", ".join(file.name for file in files[:5]) or "none"
    pickled = f"save the model as safetensors (pickled files are not read: {', '.join(others[:3])})"
    hint = "give one of them" if files else pickled if others else f"is it the model's folder?{_nested(path)}"
    raise TatrError(f"{path}: expected one safetensors file, or shards with an index; found {names}; {hint}")


def _nested(path: Path) -> str:
    below = sorted({file.parent.name for file in path.glob("*/*.safetensors")})
    return f" There are some in its folders {', '.join(below[:3])}; give one of these" if below else ""


def _index(path: Path) -> Path | None:
    indices = [i for i in sorted(path.glob(f"*{INDEX}")) if not is_hidden(i)] if path.is_dir() else []
    if len(indices) > 1:
        raise TatrError(
            f"{path}: has {len(indices)} models ({', '.join(i.name for i in indices)}); keep one per folder"
        )
    return indices[0] if indices else None
