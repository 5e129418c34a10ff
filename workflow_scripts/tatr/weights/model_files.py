"""A model's weights on disk: one safetensors file, or a Hugging Face folder whose tensors lie in several (shards)."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.layout import blocks
from tatr.weights.safetensors_file import Entry, SafetensorsFile
from tatr.weights.shard_index import read_weight_map

INDEX = ".safetensors.index.json"
"""How the file ends that says which tensor lies in which shard."""


class ModelFiles:
    """All tensors of a model of any kind, read slice by slice from the safetensors file that holds them.

    For `merge_files`, which merges models without knowing what they are. One file is a `SafetensorsFile`.
    """

    def __init__(self, path: Path) -> None:
        """Open a safetensors file, or a folder with one or with shards and their index.

        Raises:
            TatrError: nothing is there, a file is damaged or missing, or it is unclear which files are the model.
        """
        self.path = path
        self.files = [SafetensorsFile(file) for file in _files(path)]
        self._home = {name: file for file in self.files for name in file.entries}
        if index := _index(path):
            self._check_index(index, read_weight_map(index))

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

    def _check_index(self, index: Path, weight_map: Mapping[str, str]) -> None:
        shards = {name: file.path.name for file in self.files for name in file.entries}
        if sum(len(file.entries) for file in self.files) != len(shards) or shards != weight_map:
            doubtful = sorted(shards.items() ^ weight_map.items())
            name = doubtful[0][0] if doubtful else "a tensor that is in several"
            raise TatrError(f"{index}: does not say where '{name}' lies in the shards; copy the whole folder again")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if index := _index(path):
        return [path / name for name in sorted(set(read_weight_map(index).values()))]
    files = sorted(path.glob("*.safetensors"))
    if [file.name for file in files] == ["adapter_model.safetensors"]:
        raise TatrError(f"{path}: holds an adapter (LoRA), not a whole model; merge it into its base and save that")
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "none"
        hint = "give one of them" if files else "save the model as safetensors (pickled files are not read)"
        raise TatrError(f"{path}: expected one safetensors file, or shards with an index; found {names}; {hint}")
    return files


def _index(path: Path) -> Path | None:
    indices = sorted(path.glob(f"*{INDEX}")) if path.is_dir() else []
    if len(indices) > 1:
        raise TatrError(
            f"{path}: has {len(indices)} models ({', '.join(i.name for i in indices)}); keep one per folder"
        )
    return indices[0] if indices else None
