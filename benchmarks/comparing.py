"""Whether merged models are the same: what the other benchmarks look at once their contenders have merged."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.weights.safetensors_file import SafetensorsFile


def largest_change(base: Path, merged: Path) -> float:
    """The largest |θ − θ_pre| of all entries of two models, each a safetensors file or a folder of them."""
    return max(float(np.abs(one - other).max(initial=0)) for one, other in _tensors(base, merged))


def count_differing(one: Path, other: Path, allowed: float = 0) -> int:
    """Entries of two models that differ by more than `allowed`."""
    # Not those above it: NaN differs, too.
    return sum(first.size - int((np.abs(first - second) <= allowed).sum()) for first, second in _tensors(one, other))


def _tensors(one: Path, other: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every tensor of both, flat and in float32."""
    first, second = _homes(one), _homes(other)
    if first.keys() != second.keys():
        raise SystemExit(f"{one}, {other}: hold different tensors: {sorted(first.keys() ^ second.keys())[:3]}")
    return ((file.read(name), second[name].read(name)) for name, file in first.items())


def _homes(path: Path) -> dict[str, SafetensorsFile]:
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    return {name: file for file in map(SafetensorsFile, files) for name in file.entries}
