"""Images in the Parquet files of a Hugging Face data set, downloaded before or already in a folder."""

import io
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from tatr.data.parquet_names import split_files
from tatr.data.pictures import SourceSplits
from tatr.data.splits import judged
from tatr.errors import TatrError

CACHE = 2**26
"""Bytes of encoded images that a split keeps in memory, in addition to the row group that was read last."""


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file: what is read at a time."""

    path: Path
    number: int
    first: int
    """Its first row's index in the split."""
    offset: int
    """Its first row's index in the file."""
    rows: int


@dataclass
class ParquetImages:
    """The images of a split, in the order of its files."""

    groups: Sequence[RowGroup]
    labels: np.ndarray
    """int64 [n]."""
    column: str
    _read: OrderedDict[int, pa.ChunkedArray] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def _firsts(self) -> np.ndarray:
        return np.array([group.first for group in self.groups], np.int64)

    def decode(self, index: int) -> Image.Image:
        """One image."""
        number = self._find(index)
        encoded = self._images(number)[index - self.groups[number].first].as_py()
        if encoded is None:
            raise UnidentifiedImageError("the row holds no image bytes")
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
            return image

    def where(self, index: int) -> str:
        """The file and the row, counted from 0."""
        group = self.groups[self._find(index)]
        return f"{group.path}, row {index - group.first + group.offset}"

    def _find(self, index: int) -> int:
        return int(np.searchsorted(self._firsts, index, side="right")) - 1

    def _images(self, number: int) -> pa.ChunkedArray:
        # Images are mostly read in order, by a few threads that are close to one another.
        with self._lock:
            if number not in self._read:
                self._read[number] = _read_images(self.groups[number], self.column)
            self._read.move_to_end(number)
            while len(self._read) > 1 and sum(images.nbytes for images in self._read.values()) > CACHE:
                self._read.popitem(last=False)
            return self._read[number]


def load(settings: Mapping[str, Any], downloaded: Path | None = None) -> SourceSplits:
    """Find all splits of a task; no image is decoded.

    Args:
        settings: `dataset`, `config`, the names of the splits `train` and `test`, `image_column` and `label_column`,
            `root` (a folder with the data set's Parquet files, or None) and those common to all sources.
        downloaded: the folder with the downloaded files; not needed where `root` is given.

    Returns:
        The splits "train", "validation" and "test", and the source's class names in label order.

    Raises:
        TatrError: files are missing or damaged, or are not what the settings expect.
    """
    key = f"tasks.{settings['task']}"
    root = Path(settings["root"]).expanduser() if settings["root"] else downloaded
    if root is None:
        raise TatrError(f"{key}.root: {settings['dataset']} was not downloaded, and no folder with its files was given")
    if not root.is_dir():
        raise TatrError(f"{key}.root: {root} is no folder (seen from {Path.cwd()})")
    where = f"{root} ({settings['dataset']})"
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.parquet"))
    paths = {
        split: [root / name for name in split_files(names, settings["config"], settings[split], where, key)]
        for split in ("train", "test")
    }
    if settings["train"] == settings["test"]:
        raise TatrError(f"{key}: train and test are both split '{settings['train']}'")
    classes = _class_names([*paths["train"], *paths["test"]], settings["label_column"])
    train, test = (_open_split(paths[split], settings, key) for split in ("train", "test"))
    return judged(train, test, classes, settings, where)


def look(settings: Mapping[str, Any]) -> int | None:
    """How many training images `load` will find; None before they are downloaded."""
    return len(load(settings).splits["train"]) if settings["root"] else None


def _open_split(paths: Sequence[Path], settings: Mapping[str, Any], key: str) -> ParquetImages:
    groups, labels, first = list[RowGroup](), list[np.ndarray](), 0
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                _check_columns(file.schema_arrow, settings, key, path)
                labels.append(_labels(file.read(columns=[settings["label_column"]]).column(0), path))
                offset = 0
                for number in range(file.num_row_groups):
                    rows = file.metadata.row_group(number).num_rows
                    groups.append(RowGroup(path, number, first + offset, offset, rows))
                    offset += rows
                first += offset
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error
    return ParquetImages([group for group in groups if group.rows], np.concatenate(labels), settings["image_column"])


def _check_columns(schema: pa.Schema, settings: Mapping[str, Any], key: str, path: Path) -> None:
    for role in ("image_column", "label_column"):
        if settings[role] not in schema.names:
            raise TatrError(f"{path}: has no column '{settings[role]}' ({', '.join(schema.names)}); set {key}.{role}")
    kind = schema.field(settings["image_column"]).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise TatrError(
            f"{path}: column '{settings['image_column']}' holds {kind}, expected encoded images (binary, or a struct "
            f"with 'bytes'); set {key}.image_column"
        )
    kind = schema.field(settings["label_column"]).type
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise TatrError(
            f"{path}: column '{settings['label_column']}' holds {kind}, expected whole numbers; set {key}.label_column"
        )


def _labels(column: pa.ChunkedArray, path: Path) -> np.ndarray:
    if column.null_count:
        raise TatrError(f"{path}: {column.null_count} images have no label")
    return column.cast(pa.int64()).to_numpy()


def _class_names(paths: Sequence[Path], column: str) -> list[str] | None:
    names = [_names(path, column) for path in paths]
    for path, classes in zip(paths, names, strict=True):
        if classes != names[0]:
            raise TatrError(f"{path}: names other classes than {paths[0]}; are the files of one data set?")
    return names[0]


def _names(path: Path, column: str) -> list[str] | None:
    """What the `datasets` library wrote next to the schema when it made the file."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names]


def _read_images(group: RowGroup, column: str) -> pa.ChunkedArray:
    try:
        with pq.ParquetFile(group.path) as file:
            images = file.read_row_group(group.number, columns=[column], use_threads=False).column(0)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(group.path, error) from error
    return pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images


def _damaged(path: Path, error: Exception) -> TatrError:
    text = str(error).split("\n")[0]
    return TatrError(f"{path}: not a complete Parquet file ({text}); download or copy it again")
