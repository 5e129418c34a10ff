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
        return self.layout.gather(block, lambda name: _read(self._file, name, self.path), str(self.path))


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
    return {name: _read(file, name, path) for name in file.keys()}  # noqa: SIM118  (a file, not a dict)


def save_tensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Write tensors as float32 safetensors; equal tensors give equal bytes."""
    # Not `ascontiguousarray`, which gives a scalar a dimension.
    save_file({name: np.asarray(tensor, np.float32, order="C") for name, tensor in tensors.items()}, path)
    path.chmod(0o644)  # safetensors makes its files private; colleagues share results


def _read(file: safe_open, name: str, path: Path) -> np.ndarray:
    try:
        tensor: np.ndarray = file.get_tensor(name)
    except (SafetensorError, TypeError, AttributeError) as error:
        raise TatrError(f"{path}: '{name}' can't be read by NumPy ({error}); store it as float32 or float16") from error
    return tensor
