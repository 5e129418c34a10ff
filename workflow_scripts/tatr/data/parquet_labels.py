"""Labels and class names in Parquet files, which say them in several ways: numbers, from 0 or from 1, or text."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tatr.data.class_order import in_order
from tatr.data.path_text import text_of
from tatr.errors import TatrError

SHOWN = 50
"""Classes made of text that the log names."""

logger = logging.getLogger("tatr")


@dataclass(frozen=True)
class LabelColumn:
    """The labels in one file."""

    path: Path
    values: pa.ChunkedArray
    """int64, or text."""
    names: Sequence[str] | None
    """What the file says that the numbers mean, in label order."""


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_labels(kind: pa.DataType) -> bool:
    """Whether a column can hold labels: whole numbers, truth values, text, or categories that are one of these."""
    if pa.types.is_dictionary(kind):
        return is_labels(kind.value_type)
    return pa.types.is_integer(kind) or pa.types.is_boolean(kind) or is_text(kind)


def label_column(column: pa.ChunkedArray, metadata: Mapping[bytes, bytes] | None, name: str, path: Path) -> LabelColumn:
    """The labels of a file.

    Args:
        column: of labels, of a type that `is_labels` accepts.
        metadata: of the file's schema.
        name: of the column.
        path: of the file.

    Raises:
        TatrError: an image has none.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = is_text(column.type)
    if column.type == pa.uint64() and (pc.max(column).as_py() or 0) >= 2**63:
        raise TatrError(f"{path}: column '{name}' holds numbers above 2^63, which are no labels")
    values = column.cast(pa.large_string() if text else pa.int64())
    missing = values.null_count + (pc.sum(pc.equal(pc.utf8_trim_whitespace(values), "")).as_py() or 0 if text else 0)
    if missing:
        raise TatrError(f"{path}: {missing} images have no label; leave them out, or name another split")
    return LabelColumn(path, values, None if text else _names(metadata, name))


def labels_and_classes(
    splits: Mapping[str, Sequence[LabelColumn]], settings: Mapping[str, Any], where: str
) -> tuple[dict[str, np.ndarray], Sequence[str] | None]:
    """Labels from 0, and what they mean.

    Text becomes classes, in the order in which a person sorts them. Numbers may begin at 1 if as many names are known.

    Args:
        splits: the files of each split.
        settings: `task`, `label_column`, `source_classnames`.
        where: what was read, for messages.

    Returns:
        labels int64 [n] per split, and the classes' names in label order; None if the files don't name them.

    Raises:
        TatrError: files disagree, or it can't be told whether numbers begin at 0 or at 1.
    """
    first, *others = [column for columns in splits.values() for column in columns]
    for other in others:
        if other.values.type != first.values.type:
            raise TatrError(f"{other.path}: its labels are {_kind(other)}, those of {first.path} {_kind(first)}")
        if other.names != first.names:
            raise TatrError(f"{other.path}: names other classes than {first.path}; are the files of one data set?")
    values = {split: pa.chunked_array([c for one in splits[split] for c in one.values.chunks], first.values.type)
              for split in splits}  # fmt: skip
    if is_text(first.values.type):
        return _of_text(values, settings, where)
    numbers = {split: column.to_numpy() for split, column in values.items()}
    known = first.names or settings["source_classnames"]
    return _from_zero(numbers, known, settings, where), first.names


def _kind(column: LabelColumn) -> str:
    return "text" if is_text(column.values.type) else "numbers"


def _of_text(
    values: Mapping[str, pa.ChunkedArray], settings: Mapping[str, Any], where: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    classes = in_order({name for column in values.values() for name in column.unique().to_pylist()})
    shown = ", ".join(classes[:SHOWN]) + (", …" if len(classes) > SHOWN else "")
    logger.info("%s: column '%s' holds text: %d classes: %s", where, settings["label_column"], len(classes), shown)
    known = pa.array(classes, pa.large_string())
    return {split: pc.index_in(column, known).cast(pa.int64()).to_numpy() for split, column in values.items()}, classes


def _from_zero(
    numbers: dict[str, np.ndarray], known: Sequence[str] | None, settings: Mapping[str, Any], where: str
) -> dict[str, np.ndarray]:
    together = np.concatenate([*numbers.values()])
    if not len(together) or together.min() < 1:
        return numbers
    low, high, key = int(together.min()), int(together.max()), f"tasks.{settings['task']}"
    if known is None:
        raise TatrError(
            f"{where}: labels run from {low} to {high}, expected from 0; if they count from 1, give the {high} names "
            f"of the classes as {key}.source_classnames, which makes 1 the first; else use the whole data set"
        )
    if low > 1 or high != len(known):
        return numbers
    logger.info("%s: labels count from 1 to %d: label 1 is class '%s'", where, high, known[0])
    return {split: labels - 1 for split, labels in numbers.items()}


def _names(metadata: Mapping[bytes, bytes] | None, column: str) -> list[str] | None:
    """What the `datasets` library wrote next to the schema when it made the file."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return ["" if name is None else text_of(str(name)) for name in names] if isinstance(names, list) else None
