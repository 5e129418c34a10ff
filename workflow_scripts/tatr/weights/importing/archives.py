"""What `torch.save` writes apart from tensors: the pickled objects, and where the bytes of a storage lie.

Since PyTorch 1.6 a file is a zip archive: a pickle (`data.pkl`) that describes the objects, and one uncompressed entry
per storage (`data/0`, …). Before, it was five pickles one behind the other, then the storages.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from tatr.errors import TatrError
from tatr.weights.importing.unpickling import LARGEST, Calls, Global, Inert, load

MAGIC = 0x1950A86A20F9469CFC6C
"""First pickle of the old format."""

ITEM_SIZES = {
    **{"DoubleStorage": 8, "LongStorage": 8, "FloatStorage": 4, "IntStorage": 4},
    **{"HalfStorage": 2, "BFloat16Storage": 2, "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1},
    **{"QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4, "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16},
}
"""Bytes per value of PyTorch's storage types."""

_DAMAGE = (
    *(zipfile.BadZipFile, struct.error, RuntimeError, EOFError, ValueError, OverflowError, LookupError, OSError),
)


@dataclass(frozen=True, slots=True)
class Storage:
    """Where values lie: the storage's key, and the type and number of its values."""

    key: str
    type: str
    numel: int


def storage_of(identifier: Any) -> Storage | Global | Inert:  # noqa: ANN401
    """The storage that a persistent id stands for: ("storage", type, key, device, number of values, …).

    The old format has a second kind, ("module", class, file, source code of the class).
    """
    match identifier:
        case ("module", Global() as cls, *_):
            return cls
        case (
            ("storage", Global(path), str(key), _, int(numel))
            | ("storage", Global(path), str(key), _, int(numel), None)  # no view of another storage
        ) if 0 <= numel < 2**48:
            return Storage(key, path.rpartition(".")[2], numel)
    return Inert("persistent id", (identifier,))


class ZipArchive:
    """A file of `torch.save` or `torch.jit.save`."""

    def __init__(self, path: Path, calls: Calls) -> None:
        """Open the archive and read its objects."""
        self.path, self._size = path, path.stat().st_size
        # Stays closed between two reads: a model has hundreds of shards, and a process few file handles.
        with self._explaining(), zipfile.ZipFile(path) as file:
            self._entries = {info.filename: info for info in file.infolist()}
        names = [*self._entries]
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise TatrError(
                f"{path}: a zip archive, but not one of PyTorch's (no data.pkl); unpack it, if it is packed"
            )
        self._folder = pickles[0].removesuffix("data.pkl")
        self.scripted = f"{self._folder}constants.pkl" in names
        order = self._read(f"{self._folder}byteorder") if f"{self._folder}byteorder" in names else b"little"
        self.big_endian = order == b"big"
        self.root = load(BytesIO(self._read(pickles[0], LARGEST)), calls, storage_of, str(path))

    def storage(self, storage: Storage) -> bytes:
        """A storage's bytes."""
        return self._read(f"{self._folder}data/{storage.key}")

    def _read(self, name: str, largest: int | None = None) -> bytes:
        with self._explaining():
            info = self._entries[name]
            end = info.header_offset + info.compress_size
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise TatrError(
                    f"{self.path}: {name!r} is compressed, which PyTorch never does; save it with torch.save"
                )
            if end > self._size or (largest is not None and info.file_size > largest):
                raise TatrError(
                    f"{self.path}: {name!r} claims {info.file_size:,} bytes; not a checkpoint, or one with much else "
                    "in it: torch.save its state dict alone"
                )
            return self._stored(info)

    def _stored(self, info: zipfile.ZipInfo) -> bytes:
        """An entry's bytes, compared with its checksum."""
        with self.path.open("rb") as file:
            file.seek(info.header_offset)
            signature, name, extra = struct.unpack("<4s22xHH", file.read(30))
            file.seek(name + extra, os.SEEK_CUR)
            content = file.read(info.file_size)
        if signature != b"PK\3\4" or zlib.crc32(content) != info.CRC:
            raise zipfile.BadZipFile(f"{info.filename!r} has another checksum")
        return content

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        # `zipfile` reports damage by any error it runs into.
        try:
            yield
        except _DAMAGE as error:
            what = f"{type(error).__name__}: {error}".replace("\n", " ")
            raise TatrError(f"{self.path}: damaged or incomplete ({what}); copy or save it again") from error


class LegacyFile:
    """A file of `torch.save` before PyTorch 1.6."""

    scripted = False

    def __init__(self, path: Path, calls: Calls) -> None:
        """Read the objects, and find the storages behind them."""
        self.path = path
        self._storages: dict[str, Storage] = {}
        with path.open("rb") as file:
            head = BytesIO(file.read(LARGEST))
        if load(head, {}, storage_of, str(path)) != MAGIC:
            raise TatrError(
                f"{path}: a pickle, but not written by torch.save; load it with the program that made it and "
                "torch.save it"
            )
        _, system, self.root, keys = (load(head, calls, self._note, str(path)) for _ in range(4))
        self.big_endian = isinstance(system, dict) and system.get("little_endian") is False
        self._offsets = self._find(keys, head.tell())

    def storage(self, storage: Storage) -> bytes:
        """A storage's bytes."""
        if storage.key not in self._offsets:
            raise TatrError(f"{self.path}: lacks storage {storage.key!r}; copy or save it again")
        with self.path.open("rb") as file:
            file.seek(self._offsets[storage.key])
            return file.read(storage.numel * ITEM_SIZES[storage.type])

    def _note(self, identifier: Any) -> Storage | Global | Inert:  # noqa: ANN401
        storage = storage_of(identifier)
        if isinstance(storage, Storage):
            self._storages[storage.key] = storage
        return storage

    def _find(self, keys: Any, position: int) -> dict[str, int]:  # noqa: ANN401
        offsets, size = {}, self.path.stat().st_size
        for key in keys if isinstance(keys, list) else []:
            storage = self._storages.get(key) if isinstance(key, str) else None
            if storage is None or storage.type not in ITEM_SIZES:
                label = repr(key) if isinstance(key, str) else f"of key {type(key).__name__}"
                raise TatrError(f"{self.path}: storage {label} is of an unknown type; load it and torch.save it again")
            offsets[storage.key] = position + 8  # behind the number of values
            position += 8 + storage.numel * ITEM_SIZES[storage.type]
        if position > size:
            raise TatrError(f"{self.path}: has {size:,} bytes, expected {position:,}; copy or save it again")
        return offsets
