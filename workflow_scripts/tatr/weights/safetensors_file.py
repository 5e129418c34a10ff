"""Safetensors files read slice by slice and written piece by piece: memory is bounded for tensors of any size.

The `safetensors` library maps whole files, whose pages count as the process's memory, and writes from tensors that are
all in memory. The format is simple: 8 bytes that hold the header's length, a JSON header (per tensor its type, shape
and offsets), and the tensors' bytes end to end (https://github.com/huggingface/safetensors, section "Format").
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO, RawIOBase
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from tatr.digests import ContentDigest
from tatr.errors import TatrError
from tatr.weights.file_kinds import known_kind
from tatr.weights.json_object import json_object

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

DIMENSIONS = 64
"""Most that a tensor has anywhere."""

PIECE = 2**20
"""Entries converted at once, and bytes · 16 copied at once."""


Seen = Callable[[int, memoryview], None]
"""Gets a position in a file, and the bytes that were read from there."""


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
            with path.open("rb", buffering=0) as file:
                self._state = _state(file)
                self.entries, self.metadata = _header(file.read, self._state[0])
        except (OSError, HeaderError) as error:
            raise TatrError(f"{path}: {_reason(path, error)}") from error

    def read(self, name: str, inside: slice | None = None) -> np.ndarray:
        """Consecutive entries of a tensor, seen as flat, as float32 [n] (all of them if no slice is given).

        Raises:
            TatrError: the tensor is not of a floating-point type.
        """
        inside = inside or slice(0, self.entries[name].size)
        values = np.empty(inside.stop - inside.start, np.float32)
        self.fill(name, inside, values)
        return values

    def fill(self, name: str, inside: slice, values: np.ndarray, seen: Seen | None = None) -> None:
        """Read consecutive entries of a tensor, seen as flat, into an array.

        Args:
            name: of the tensor.
            inside: which entries.
            values: to be filled, contiguous, float32 [n].
            seen: is told the position in the file of what has been read, and its bytes.

        Raises:
            TatrError: the tensor is not of a floating-point type.
        """
        entry = self.entries[name]
        if not entry.is_floating:
            raise TatrError(f"{self.path}: '{name}' is {type_name(entry.dtype)}, expected a floating-point type")
        dtype = FLOATS[entry.dtype]
        position = entry.start + dtype.itemsize * inside.start
        if entry.dtype == "F32":
            self._read_bytes(values, position, seen)
            return
        for start in range(0, len(values), PIECE):
            raw = np.empty(min(PIECE, len(values) - start), dtype)
            self._read_bytes(raw, position + dtype.itemsize * start, seen)
            with np.errstate(over="ignore"):  # becomes an infinity, which is refused where it matters
                values[start : start + PIECE] = raw

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
        self._read_bytes(tensor, entry.start)
        return tensor

    def pieces(self, name: str) -> Iterator[np.ndarray]:
        """A tensor's bytes as they are, of any type, as uint8, in pieces of at most 16 MiB."""
        entry = self.entries[name]
        for start in range(0, entry.nbytes, 16 * PIECE):
            raw = np.empty(min(16 * PIECE, entry.nbytes - start), np.uint8)
            self._read_bytes(raw, entry.start + start)
            yield raw

    def _read_bytes(self, array: np.ndarray, position: int, seen: Seen | None = None) -> None:
        # The file is opened for every read: models have hundreds of shards, and a process few file handles.
        try:
            with self.path.open("rb", buffering=0) as file:
                whole = _state(file) == self._state and _read_into(array, file.fileno(), position)
        except OSError as error:
            raise TatrError(f"{self.path}: can't be read ({error.strerror}); copy or make it again") from error
        if not whole:
            raise TatrError(f"{self.path}: has changed while it was read; wait until it is complete, and run again")
        if seen:
            seen(position, array.view(np.uint8).data)


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


class HeaderError(ValueError):
    """Why a file is not a whole safetensors file."""


def _state(file: FileIO) -> tuple[int, int]:
    """Size and time of the last change: what tells that a file is not the one that was opened first."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _read_into(array: np.ndarray, descriptor: int, position: int) -> bool:
    """Fill an array with bytes from a position on; False if the file ends before."""
    rest = memoryview(array.reshape(-1).view(np.uint8))
    while rest:  # one read gives 2 GiB at most
        count = os.preadv(descriptor, [rest], position)
        if not count:
            return False
        rest, position = rest[count:], position + count
    return True


def _reason(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        where = "; it is a link to a file that is missing: download or copy it again" if path.is_symlink() else ""
        return f"no such file{where}"
    if isinstance(error, OSError):
        return f"can't be read ({error.strerror})"
    kind = known_kind(path)
    return f"not a complete safetensors file {f'but {kind}' if kind else f'({error}); copy or make it again'}"


def _header(read: Callable[[int], bytes | None], size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a file in the order of their bytes, and its metadata."""
    length = int.from_bytes(read(8) or b"", "little")
    if size < 8 or length > min(HEADER, size - 8):
        raise HeaderError(f"{size:,} bytes are too few for its header, or that of {length:,} is too long")
    try:
        raw = json_object(read(length) or b"")
        metadata = raw.pop("__metadata__", None) or {}
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata is not text")
        "".join(metadata.values()).encode()
        entries = _entries(raw, 8 + length)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise HeaderError(f"its header: {reason}") from error
    end = max((entry.start + entry.nbytes for entry in entries.values()), default=8 + length)
    if end != size:
        raise HeaderError(f"{size:,} bytes where its header tells of {end:,}")
    return entries, metadata


def _entries(raw: Mapping[str, Any], begin: int) -> dict[str, Entry]:
    """The tensors that a header describes, whose bytes begin at a position of the file."""
    entries, end = {}, 0
    for name, given in sorted(raw.items(), key=lambda item: item[1]["data_offsets"]):
        if not name.isprintable():
            raise ValueError(f"{name!r} is no name of a tensor")
        shape, (start, stop) = given["shape"], given["data_offsets"]
        # A shape without bounds would take forever to multiply.
        short = isinstance(shape, list) and len(shape) <= DIMENSIONS
        if not short or not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, start, stop)):
            raise ValueError(f"'{name}' has no valid shape or offsets")
        if given["dtype"] not in BITS:
            raise ValueError(f"'{name}' is of the unknown type {given['dtype']!r}")
        entry = Entry(given["dtype"], tuple(shape), begin + start)
        if start != end or 8 * (stop - start) != entry.size * BITS[entry.dtype]:
            raise ValueError(f"'{name}' lies where it can't: bytes {start:,} to {stop:,}")
        entries[name], end = entry, stop
    return entries
