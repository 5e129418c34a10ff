"""Encoders on disk: safetensors files with open_clip's names, read tensor by tensor. Nothing is ever unpickled."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tatr.errors import TatrError
from tatr.layout import Layout


class Checkpoint:
    """A safetensors file as a flat float32 vector [N] over a layout; slices are read when asked for."""

    def __init__(self, path: Path, layout: Layout) -> None:
        """Open a checkpoint and check its names and shapes against the layout (values are checked when read)."""
        self.path, self.layout = path, layout
        self._file = open_safetensors(path)
        layout.check_names(self._file.keys(), str(path))

    def __len__(self) -> int:
        return self.layout.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        flat = np.empty(block.stop - block.start, np.float32)
        for parameter in self.layout.parameters:
            start, stop = max(parameter.offset, block.start), min(parameter.stop, block.stop)
            if start < stop:
                tensor = self._file.get_tensor(parameter.name)
                self.layout.check_tensor(parameter, tensor, str(self.path))
                inside = slice(start - parameter.offset, stop - parameter.offset)
                flat[start - block.start : stop - block.start] = tensor.reshape(-1)[inside]
        return flat


def open_safetensors(path: Path) -> safe_open:
    """Open a safetensors file for NumPy.

    Raises:
        TatrError: the file is missing, truncated or not safetensors.
    """
    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError as error:
        raise TatrError(f"{path}: no such file") from error
    except SafetensorError as error:
        raise TatrError(f"{path}: not a whole safetensors file ({error}); copy or make it again") from error


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file."""
    file = open_safetensors(path)
    try:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (a file, not a dict)
    except (SafetensorError, TypeError) as error:
        raise TatrError(f"{path}: can't be read as NumPy arrays ({error}); store it as float32 or float16") from error


def save_tensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Write tensors as float32 safetensors; equal tensors give equal bytes."""
    save_file({name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}, path)
