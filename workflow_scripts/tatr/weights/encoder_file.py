"""Image encoders as the project keeps them: safetensors files with open_clip's names, read block by block."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tatr.vectors.gathered import Gathered
from tatr.vectors.layout import Layout
from tatr.weights.safetensors_file import SafetensorsFile, type_name, write_safetensors


class EncoderFile:
    """An image encoder in a safetensors file, as a flat float32 vector [N] over a layout, read slice by slice.

    For θ_pre and θ_k, as the steps `backbone`, `finetuning` and `checkpoint` write them. A file of any tensors is a
    `SafetensorsFile`, a whole model of any kind `ModelFiles`, and a CLIP model from elsewhere a `Clip`.
    """

    gives_new = True

    def __init__(self, path: Path, layout: Layout) -> None:
        """Open a file and check its names, shapes and types against the layout (values when they are read)."""
        self.path, self.layout = path, layout
        file = SafetensorsFile(path)
        layout.check_names(file.entries, str(path))
        for parameter in layout.parameters:
            entry = file.entries[parameter.name]
            parameter.check_shape(entry.shape, str(path))
            parameter.check_type(type_name(entry.dtype), str(path), is_floating=entry.is_floating)
        self._values = Gathered(layout, file.fill, str(path))

    def __len__(self) -> int:
        return self.layout.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        return self._values[block]


def load_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file; bfloat16 as float32.

    Raises:
        TatrError: the file is missing, truncated or not safetensors, or NumPy has no such type as one of its tensors.
    """
    file = SafetensorsFile(path)
    return {name: file.tensor(name) for name in file.entries}


def save_tensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Write tensors as float32 safetensors, sorted by name; equal tensors give equal bytes."""
    ordered = [(name, tensors[name]) for name in sorted(tensors, key=str.encode)]
    # Not `ascontiguousarray`, which gives a scalar a dimension. One tensor is converted at a time.
    parts = (np.asarray(tensor, "<f4", order="C") for _, tensor in ordered)
    write_safetensors(path, {name: ("F32", np.shape(tensor)) for name, tensor in ordered}, parts)
