"""Safetensors files read slice by slice and written piece by piece: memory is bounded for tensors of any size.

The `safetensors` library maps whole files, whose pages count as the process's memory, and writes from tensors that are
all in memory. The format is simple: 8 bytes that hold the header's length, a JSON header (per tensor its type, shape
and offsets), and the tensors' bytes end to end (https://github.com/huggingface/safetensors, section "Format").
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import RawIOBase
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tatr.digests import ContentDigest
from tatr.errors import TatrError

FLOATS = {name: np.dtype(code) for name, code in {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": bfloat16}.items()}
"""The types that can be merged."""

_INTEGERS = {"U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8", "I64": "<i8"}
OTHERS = {name: np.dtype(code) for name, code in {"BOOL": "?", **_INTEGERS, "C64": "<c8"}.items()}
"""All other types that NumPy has."""

BITS = {
    **{name: 8 * dtype.itemsize for name, dtype in (FLOATS | OTHERS).items()},
    **{"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8},
    **{"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4},
}
"""Bits per entry of every type."""

HEADER = 100_000_000
"""Longest header that the format allows, in bytes."""

PIECE = 2**20
"""Entries converted at once, and bytes · 16 copied at once."""


@dataclass(frozen=True)
class Entry:
    """A tensor in a file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Of its bytes, counted from the file's beginning."""

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.size * BITS[self.dtype] // 8

    @property
    def is_floating(self) -> bool:
        """Whether it can be read as float32."""
        return self.dtype in FLOATS


class SafetensorsFile:
    """A safetensors file: its tensors of any type; only its header is read at first.

    The lowest level: for single files and for writers of files. A model that may lie in several is `ModelFiles`, an
    encoder over a layout `EncoderFile`.
    """

    def __init__(self, path: Path) -> None:
        """Open a file and check that it is whole: each tensor's bytes are there, and no others.

        Raises:
            TatrError: the file is missing, truncated or not safetensors.
        """
        self.path = path
        try:
            self._file = path.open("rb", buffering=0)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise TatrError(f"{path}: no such file") from error
        try:
            self.entries, self.metadata = _header(self._file.read, os.fstat(self._file.fileno()).st_size)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TatrError(f"{path}: not a complete safetensors file ({error}); copy or make it again") from error

    def read(self, name: str, inside: slice | None = None) -> np.ndarray:
        """Consecutive entries of a tensor, seen as flat, as float32 [n] (all of them if no slice is given).

        Raises:
            TatrError: the tensor is not of a floating-point type.
        """
        entry = self.entries[name]
        if not entry.is_floating:
            raise TatrError(f"{self.path}: '{name}' is {type_name(entry.dtype)}, expected a floating-point type")
        inside = inside or slice(0, entry.size)
        values, width = np.empty(inside.stop - inside.start, np.float32), BITS[entry.dtype] // 8
        if entry.dtype == "F32":
            self._fill(values, entry.start + 4 * inside.start)
            return values
        for start in range(0, len(values), PIECE):
            raw = np.empty(min(PIECE, len(values) - start), FLOATS[entry.dtype])
            self._fill(raw, entry.start + width * (inside.start + start))
            with np.errstate(over="ignore"):  # becomes an infinity, which is refused where it matters
                values[start : start + PIECE] = raw
        return values

    def tensor(self, name: str) -> np.ndarray:
        """A whole tensor in its shape and type; bfloat16, which NumPy itself lacks, as float32.

        Raises:
            TatrError: NumPy has no such type.
        """
        entry = self.entries[name]
        if entry.dtype == "BF16":
            return self.read(name).reshape(entry.shape)
        if entry.dtype not in FLOATS | OTHERS:
            raise TatrError(
                f"{self.path}: '{name}' can't be read by NumPy ({entry.dtype}); store it as float32 or float16"
            )
        tensor = np.empty(entry.shape, (FLOATS | OTHERS)[entry.dtype])
        self._fill(tensor, entry.start)
        return tensor

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        """A tensor's bytes as they are, of any type, as uint8, in pieces of at most 16 MiB."""
        entry = self.entries[name]
        for start in range(0, entry.nbytes, 16 * PIECE):
            raw = np.empty(min(16 * PIECE, entry.nbytes - start), np.uint8)
            self._fill(raw, entry.start + start)
            yield raw

    def _fill(self, array: np.ndarray, position: int) -> None:
        # At a position of its own: readers of one file need not agree on where it stands. One read gives 2 GiB at most.
        rest = memoryview(array.reshape(-1).view(np.uint8))
        while rest:
            count = os.preadv(self._file.fileno(), [rest], position)
            if not count:
                raise TatrError(f"{self.path}: became shorter while it was read; copy or make it again")
            rest, position = rest[count:], position + count


def write_safetensors(
    path: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    parts: Iterable[bytes | np.ndarray],
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Write a safetensors file of which only a few parts are in memory at a time, and return the file's SHA-256.

    The file is written under another name and renamed when it is complete.

    Args:
        path: the file to make, or to replace.
        tensors: per name its type (a key of `BITS`) and shape, in the order in which their bytes are to lie.
        parts: all tensors' bytes, end to end, in parts of any length.
        metadata: the header's.

    Raises:
        ValueError: the parts have more or fewer bytes than the tensors.
        OSError: the disk is full.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        stop = offset + prod(shape) * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, stop]}
        offset = stop
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(path.name + ".partial")
    digest = ContentDigest(start := len(text).to_bytes(8, "little") + text)
    try:
        with partial.open("wb", buffering=0) as file, ThreadPoolExecutor(1) as hasher:
            _write(file, start)
            written = 0
            hashed: Future[Any] = hasher.submit(int)
            for part in parts:
                raw = _raw(part)
                hashed.result()
                hashed = hasher.submit(digest.update, raw)  # while the part is written and the next one made
                written += _write(file, raw)
        if written != offset:
            raise ValueError(f"{path}: {written:,} bytes for tensors of {offset:,}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return digest.hexdigest()


def to_bytes(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float32 values as a floating-point type of a file, rounded to the nearest (halves to even).

    Args:
        values: finite, float32, of any shape.
        dtype: a key of `FLOATS`.

    Returns:
        An array whose bytes are to be written (bfloat16 as uint16); infinite where a value is too large for the type.
    """
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(values, FLOATS[dtype])
    return rounded.view(np.uint16) if dtype == "BF16" else rounded


def type_name(dtype: str) -> str:
    """What NumPy calls a type of a file, or the file's own word."""
    return OTHERS[dtype].name if dtype in OTHERS else dtype


def _raw(part: bytes | np.ndarray) -> memoryview:
    return memoryview(part if isinstance(part, bytes) else np.ascontiguousarray(part).reshape(-1).view(np.uint8))


def _write(file: RawIOBase, part: bytes | memoryview) -> int:
    rest = memoryview(part)
    count = len(rest)
    while rest:  # a raw file may write less than it is given
        rest = rest[file.write(rest) :]
    return count


def _header(read: Any, size: int) -> tuple[dict[str, Entry], dict[str, str]]:  # noqa: ANN401
    """The tensors of a file in the order of their bytes, and its metadata; ValueError if anything is amiss."""
    length = int.from_bytes(read(8), "little")
    if size < 8 or length > min(HEADER, size - 8):
        raise ValueError(f"{size:,} bytes are too few for its header")
    raw = json.loads(read(length).decode(), object_pairs_hook=_without_doubles)
    if not isinstance(raw, dict):
        raise ValueError("its header is no JSON object")
    metadata = raw.pop("__metadata__", None) or {}
    if not all(isinstance(text, str) for text in (*metadata, *metadata.values())):
        raise ValueError("its metadata is not text")
    entries, end = {}, 0
    for name, given in sorted(raw.items(), key=lambda item: item[1]["data_offsets"]):
        shape, (start, stop) = given["shape"], given["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
            raise ValueError(f"'{name}' has no valid shape or offsets")
        if given["dtype"] not in BITS:
            raise ValueError(f"'{name}' is of the unknown type {given['dtype']!r}")
        entry = Entry(given["dtype"], tuple(shape), 8 + length + start)
        if start != end or 8 * (stop - start) != entry.size * BITS[entry.dtype]:
            raise ValueError(f"'{name}' lies where it can't: bytes {start:,} to {stop:,}")
        entries[name], end = entry, stop
    if 8 + length + end != size:
        raise ValueError(f"{size:,} bytes where its header tells of {8 + length + end:,}")
    return entries, metadata


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    header = dict(pairs)
    if len(header) != len(pairs):
        raise ValueError("a name occurs twice in its header")
    return header
