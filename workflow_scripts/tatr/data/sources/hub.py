"""Images in the Parquet files of a Hugging Face data set, downloaded before or already in a folder."""

import io
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

from tatr.data.checks import root_folder
from tatr.data.parquet_labels import LabelColumn, is_labels, is_text, label_column, labels_and_classes
from tatr.data.parquet_names import split_files
from tatr.data.pictures import SourceSplits, open_picture
from tatr.data.splits import judged
from tatr.errors import Problems, TatrError

CACHE = 2**26
"""Bytes of encoded images that a split keeps in memory, in addition to the row group that was read last."""

MOST = 2**31 - 2**20
"""Bytes of images that a row group may hold, which is read at once into an Arrow array of at most 2 GiB."""

EMBED = "write the images' own bytes into the files, or take the images from folders (source: folder)"


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


@dataclass(frozen=True)
class ParquetContent:
    """What a Parquet file holds, before any image is read."""

    path: Path
    labels: LabelColumn
    rows: Sequence[int]
    """Of each row group."""
    column: str
    """Of the images' bytes."""


@dataclass
class ParquetImages:
    """The images of a split, in the order of its files."""

    groups: Sequence[RowGroup]
    labels: np.ndarray
    """int64 [n]."""
    column: str
    """Of their bytes: IMAGE, or IMAGE.bytes in a struct."""
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
        return open_picture(io.BytesIO(encoded))

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
                while len(self._read) > 1 and sum(images.nbytes for images in self._read.values()) > CACHE:
                    self._read.popitem(last=False)
            self._read.move_to_end(number)
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
    root = root_folder(settings) if settings["root"] else downloaded
    if root is None:
        raise TatrError(f"{key}.root: {settings['dataset']} was not downloaded, and no folder with its files was given")
    where = f"{root} ({settings['dataset']})"
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.parquet") if not path.is_dir())
    paths = {
        split: [root / name for name in split_files(names, settings["config"], settings[split], where, key)]
        for split in ("train", "test")
    }
    if settings["train"] == settings["test"]:
        raise TatrError(f"{key}: train and test are both split '{settings['train']}'")
    files = {split: [_open(path, settings, key) for path in paths[split]] for split in paths}
    labels, classes = labels_and_classes({split: [f.labels for f in files[split]] for split in files}, settings, where)
    train, test = (ParquetImages(_groups(files[split]), labels[split], _column(files[split])) for split in files)
    return judged(train, test, classes, settings, where)


def look(settings: Mapping[str, Any]) -> int | None:
    """How many training images `load` will find; None before they are downloaded."""
    return len(load(settings).splits["train"]) if settings["root"] else None


def _open(path: Path, settings: Mapping[str, Any], key: str) -> ParquetContent:
    """What a file says of itself, and its labels."""
    with _reading(path), pq.ParquetFile(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
        _check_columns(schema, settings, key, path)
        image = settings["image_column"]
        column = f"{image}.bytes" if pa.types.is_struct(schema.field(image).type) else image
        _check_images(metadata, column, key, path)
        rows = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        labels = file.read(columns=[settings["label_column"]]).column(0)
        if len(labels) != sum(rows):
            raise ValueError(f"{len(labels)} labels of {sum(rows)} rows")
        return ParquetContent(path, label_column(labels, schema.metadata, settings["label_column"], path), rows, column)


def _groups(files: Sequence[ParquetContent]) -> list[RowGroup]:
    """The row groups of all files of a split that are not empty."""
    groups, first = list[RowGroup](), 0
    for file in files:
        offset = 0
        for number, count in enumerate(file.rows):
            if count:
                groups.append(RowGroup(file.path, number, first + offset, offset, count))
            offset += count
        first += offset
    return groups


def _column(files: Sequence[ParquetContent]) -> str:
    """The column of the images' bytes, the same in all files."""
    for file in files:
        if file.column != files[0].column:
            raise TatrError(
                f"{file.path}: its images are in {file.column}, those of {files[0].path} in {files[0].column}; are "
                "the files of one data set?"
            )
    return files[0].column


def _check_columns(schema: pa.Schema, settings: Mapping[str, Any], key: str, path: Path) -> None:
    """Check that both columns are there and hold what they should."""
    problems = Problems()
    for role, fits, expected in (
        ("image_column", _is_images, "encoded images (binary, or a struct with 'bytes')"),
        ("label_column", is_labels, "whole numbers or text"),
    ):
        with problems.noting():
            name, others = settings[role], [field.name for field in schema if fits(field.type)]
            remedy = f"set {key}.{role}" + (f" to {' or '.join(others)}" if others and name not in others else "")
            if name not in schema.names:
                raise TatrError(f"{path}: has no column '{name}' ({', '.join(schema.names)}); {remedy}")
            if schema.names.count(name) > 1:
                raise TatrError(f"{path}: has several columns '{name}'; write it again with one of them")
            if not fits(kind := schema.field(name).type):
                paths = (
                    f"; paths without images are of no use: {EMBED}"
                    if role == "image_column" and _is_paths(kind)
                    else ""
                )
                raise TatrError(f"{path}: column '{name}' holds {kind}, expected {expected}; {remedy}{paths}")
    problems.raise_any()


def _is_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _is_paths(kind: pa.DataType) -> bool:
    return is_text(kind) or (pa.types.is_struct(kind) and kind.get_field_index("path") >= 0)


def _check_images(metadata: pq.FileMetaData, column: str, key: str, path: Path) -> None:
    """Check what a file says of its images without reading them: that there are some, and not too many at a time."""
    rows, missing = 0, 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for chunk in (group.column(index) for index in range(group.num_columns)):
            if chunk.path_in_schema != column:
                continue
            if chunk.total_uncompressed_size > MOST:
                raise TatrError(
                    f"{path}: row group {number} holds {chunk.total_uncompressed_size / 1e9:.1f} GB of images, which "
                    "are read at once; write the file again with small row groups (row_group_size=1000)"
                )
            rows += group.num_rows
            missing += chunk.statistics.null_count if chunk.is_stats_set and chunk.statistics.has_null_count else 0
    if rows and missing == rows:
        raise TatrError(
            f"{path}: column '{column.removesuffix('.bytes')}' holds no image bytes, perhaps paths alone; {EMBED}, or "
            f"set {key}.image_column"
        )


def _read_images(group: RowGroup, column: str) -> pa.ChunkedArray:
    # Images that a file holds once and names in many rows stay so: a few kilobytes could fill the memory else.
    with _reading(group.path), pq.ParquetFile(group.path, read_dictionary=[column]) as file:
        images = file.read_row_group(group.number, columns=[column], use_threads=False).column(0)
        if len(images) != group.rows:
            raise ValueError(f"{len(images)} images in row group {group.number}, expected {group.rows}")
        return pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say in one line that a file is damaged."""
    try:
        yield
    except TatrError:
        raise
    except Exception as error:  # Arrow raises all kinds of errors on damaged bytes
        text = str(error).split("\n")[0]
        raise TatrError(f"{path}: not a complete Parquet file ({text}); download or copy it again") from error
