"""The form of Zarr v3 array that vectors are stored in: its metadata, and the files of its chunks.

Zarr reads what is written here and writes what is read here; of float vectors, to the byte. Steps do without it all the
same: its import takes twice as long as NumPy's, and it encodes and decodes for all threads on one of its own.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from crc32c import crc32c  # lets other threads run while it counts

CHECKSUM = 4
"""Bytes that a CRC32C adds to a chunk."""


@dataclass(frozen=True)
class Form:
    """A one-dimensional array in chunks of equal length, each with a CRC32C; masks are compressed, floats are not."""

    size: int
    """N, how many entries there are."""
    dtype: np.dtype[Any]
    """float32, or bool."""
    chunk: int
    """Entries of a chunk; the last is filled up with zeros."""
    layout: str
    """Digest of the layout that the vector lies over."""

    @classmethod
    def read(cls, store: Path) -> "Form":
        """The form of an array on disk.

        Raises:
            ValueError: its metadata is damaged, or it has another form.
            OSError: there is none.
        """
        found = json.loads((store / "zarr.json").read_text(encoding="utf-8"))
        try:
            (size,), (chunk,) = found["shape"], found["chunk_grid"]["configuration"]["chunk_shape"]
            dtype, layout = np.dtype(found["data_type"]), found["attributes"]["layout"]
            form = cls(size, dtype, chunk, layout)
            is_known = form.metadata() == {"storage_transformers": [], **found}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its metadata lacks what a vector's says: {error}") from error
        is_typed = {type(size), type(chunk)} == {int} and isinstance(layout, str) and dtype in (np.float32, bool)
        if not (is_known and is_typed and size >= 0 and chunk > 0):
            raise ValueError("it is an array of another form than vectors are stored in")
        return form

    def metadata(self) -> dict[str, Any]:
        """What `zarr.json` says (Zarr's specification of version 3)."""
        is_mask = self.dtype == bool
        checksum: dict[str, Any] = {"name": "crc32c"}
        compressed = {"name": "zstd", "configuration": {"level": 1, "checksum": False}}
        plain = {"name": "bytes", "configuration": {"endian": "little"}}
        return {
            "shape": [self.size],
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [self.chunk]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": False if is_mask else 0.0,
            "codecs": [{"name": "bytes"}, compressed, checksum] if is_mask else [plain, checksum],
            "attributes": {"layout": self.layout},
            "zarr_format": 3,
            "node_type": "array",
            "storage_transformers": [],
        }

    def create(self, store: Path) -> None:
        """Make a store without chunks.

        Raises:
            FileExistsError: there is one.
        """
        (store / "c").mkdir(parents=True)
        (store / "zarr.json").write_text(json.dumps(self.metadata(), indent=2), encoding="utf-8")

    @property
    def bytes_of_chunk(self) -> int | None:
        """How long a chunk's file is; None if that depends on what it holds."""
        return None if self.dtype == bool else self.chunk * self.dtype.itemsize + CHECKSUM

    def write_chunk(self, file: Path, entries: np.ndarray) -> None:
        """Write a chunk, given its entries, of the array's type and contiguous; the last one may be short."""
        if short := self.chunk - len(entries):
            entries = np.concatenate([entries, np.zeros(short, self.dtype)])
        plain = entries.data.cast("B")
        content = zstandard.compress(plain, level=1) if self.dtype == bool else plain
        with file.open("wb") as opened:
            opened.write(content)
            opened.write(crc32c(content).to_bytes(CHECKSUM, "little"))

    def read_chunk(self, file: Path) -> np.ndarray:
        """All entries of a chunk, [chunk].

        Raises:
            ValueError, OSError, zstandard.ZstdError: it is damaged, missing, or of another length.
        """
        raw = np.empty(self.bytes_of_chunk or file.stat().st_size, np.uint8)
        with file.open("rb", buffering=0) as opened:
            count = opened.readinto(raw)
        content, checksum = raw[:-CHECKSUM], raw[-CHECKSUM:].tobytes()
        if count != len(raw) or crc32c(content).to_bytes(CHECKSUM, "little") != checksum:
            raise ValueError(f"the checksum of chunk {file.name} does not match")
        plain = zstandard.decompress(content.data) if self.dtype == bool else content
        return np.frombuffer(plain, self.dtype).reshape(self.chunk)
