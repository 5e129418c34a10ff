"""What lies beside a model's weights: the files that the merged model needs, too, and those that are left behind."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tatr.errors import TatrError
from tatr.weights.model_files import INDEX

_WEIGHTS = (
    *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".onnx_data", ".gguf"),
    *(".npz", ".npy", ".tflite", ".ot", ".mlmodel", ".distcp", ".index.json"),
)
"""How files end that hold weights, which would be the base's and not the merged model's."""

_ABOUT_THE_BASE = ("README.md", "merge.json", "manifest.json")

OF_A_FILE = ("config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.txt", "vocab.json")
"""What a model's folder has beside a single file; it is not copied, as the folder may hold anything."""


@dataclass(frozen=True)
class Companions:
    """Files of the base's folder and its subfolders, apart from the weights that were read; relative paths."""

    folder: Path
    copied: tuple[str, ...]
    """Config, tokenizer, vocabulary, code: whatever the file is called."""
    left: tuple[str, ...]
    """Weights in other formats or of other parts, the model's card, what can't be read."""
    lacking: tuple[str, ...]
    """Code that the config names (`auto_map`) and the folder doesn't have."""

    def copy(self, folder: Path) -> None:
        """Copy all that is to be copied into a folder."""
        for name in self.copied:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / name, folder / name)


def companions_of(base: Path, weights: list[Path]) -> Companions:
    """What lies beside a model.

    Args:
        base: the model's folder; of a single file nothing is copied.
        weights: its files that are merged.

    Raises:
        TatrError: one of its folders can't be read.
    """
    if not base.is_dir():
        beside = tuple(name for name in OF_A_FILE if (base.parent / name).is_file())
        return Companions(base.parent, (), beside, ())
    merged = {path.name for path in weights}
    there = [name for name in _files(base) if name not in merged]
    copied = tuple(name for name in there if _is_needed(name) and _is_readable(base / name))
    left = tuple(name for name in there if name not in copied)
    return Companions(base, copied, left, tuple(sorted(set(_code_of(base)) - set(copied))))


def _files(folder: Path) -> list[str]:
    """Files in a folder and its subfolders that aren't hidden; links to folders are not followed."""

    def refuse(error: OSError) -> None:
        raise TatrError(f"{error.filename}: can't be read ({error.strerror})") from error

    found = []
    for above, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [name for name in folders if (Path(above) / name).is_symlink()]
        found += [Path(above) / name for name in (*linked, *files) if not name.startswith(".")]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _is_readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def _is_needed(name: str) -> bool:
    if "/" not in name and name.endswith(INDEX):
        return True  # of the shards that are merged
    return not name.endswith(_WEIGHTS) and PurePosixPath(name).name not in _ABOUT_THE_BASE


def _code_of(folder: Path) -> Iterator[str]:
    """The files of code that configs name under `auto_map`: `modeling_x.ModelX` lies in `modeling_x.py`."""
    for path in sorted(folder.glob("*.json")):
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # is copied as it is
        for name in _texts(config.get("auto_map") if isinstance(config, dict) else None):
            if "." in name and "--" not in name:  # else it lies in another repository
                yield f"{name.rpartition('.')[0].replace('.', '/')}.py"


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
