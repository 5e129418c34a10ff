"""Whatever bytes people bring as data: it works, or is a message; never another exception, and nothing half-written."""

import gzip
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import native_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_files import DEFAULTS, NATIVE
from PIL import Image

from tatr.data.decoding import STORE, Decoding, write_pictures
from tatr.data.image_store import digest_images
from tatr.data.pictures import ImageFiles, SourceSplits
from tatr.data.sources import hub, torchvision
from tatr.data.split_lists import listed
from tatr.errors import TatrError


@dataclass(frozen=True)
class Mutation:
    """What happens to bytes on the way."""

    kind: str
    at: float
    """Where, as a share of them."""
    noise: bytes

    def of(self, whole: bytes) -> bytes:
        """The bytes, mutated."""
        at = int(self.at * len(whole))
        end = at + len(self.noise)
        return {
            "whole": whole,
            "cut": whole[:at],
            "overwritten": whole[:at] + self.noise + whole[end:],
            "inserted": whole[:at] + self.noise + whole[at:],
            "removed": whole[:at] + whole[end:],
            "swapped": whole[at:] + whole[:at],
            "noise": self.noise,
        }[self.kind]


KINDS = ["whole", "cut", "overwritten", "overwritten", "inserted", "removed", "swapped", "noise"]
# Headers stand at the beginning or, of Parquet files, at the end: places near both are tried as often as all others.
PLACES = st.floats(0, 1) | st.floats(0, 0.02) | st.floats(0.9, 1)
MUTATIONS = st.builds(Mutation, st.sampled_from(KINDS), PLACES, st.binary(min_size=1, max_size=24))


@contextmanager
def folder() -> Iterator[Path]:
    """A new one for each example."""
    path = Path(tempfile.mkdtemp())
    try:
        yield path
    finally:
        shutil.rmtree(path)


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def decoded(splits: Mapping[str, Any], classnames: Sequence[str] | None, into: Path) -> None:
    """Decode all splits: either a whole store stands there in the end, or nothing."""
    made, saved = into / "made", into / "saved"
    made.mkdir()
    try:
        digest, _ = write_pictures(splits, classnames, Decoding("t", 8), made, saved, "key")
    except TatrError:
        assert [*made.iterdir()] == []
        assert not saved.exists() or (saved / "journal.jsonl").read_text().count("\n") > 1  # a whole shard
    else:
        assert digest == digest_images(made / STORE)


def encoded(kind: str, mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((12, 9), 80).convert(mode).save(buffer, kind)
    return buffer.getvalue()


IMAGES = {
    kind: encoded(kind, mode)
    for kind, mode in [
        *(("PNG", "RGBA"), ("JPEG", "RGB"), ("GIF", "P"), ("BMP", "RGB"), ("TIFF", "RGB"), ("WEBP", "RGB")),
        *(("PPM", "RGB"), ("TGA", "RGB"), ("ICO", "RGBA"), ("PCX", "RGB"), ("JPEG2000", "RGB"), ("SGI", "RGB")),
        *(("DDS", "RGB"), ("QOI", "RGB"), ("MSP", "1"), ("XBM", "1"), ("ICNS", "RGBA")),
    ]
}


@given(kind=st.sampled_from(sorted(IMAGES)), mutation=MUTATIONS)
def test_images(kind: str, mutation: Mutation) -> None:
    with folder() as root:
        (root / "good.png").write_bytes(IMAGES["PNG"])
        (root / "a").write_bytes(mutation.of(IMAGES[kind]))
        good = ImageFiles([root / "good.png"], np.array([0]))
        mutated = ImageFiles([root / "good.png", root / "a"], np.array([0, 0]))
        decoded({"train": mutated, "validation": good, "test": good}, ["ant"], root)


def parquet() -> bytes:
    names = [f"{label}" for label in range(2)] * 6
    table = pa.table({"image": [native_files.png(i % 2, i) for i in range(12)], "label": names})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=5, compression="zstd")
    return buffer.getvalue()


PARQUET = parquet()


@given(MUTATIONS)
def test_parquet_files(mutation: Mutation) -> None:
    settings = {"task": "t", "dataset": "some/set", "counts": None, "source_classnames": None}
    with folder() as root:
        (root / "test.parquet").write_bytes(PARQUET)
        (root / "train.parquet").write_bytes(mutation.of(PARQUET))
        before = contents(root)
        try:
            splits, names, _ = hub.load(DEFAULTS["hub"] | settings | {"root": str(root)})
        except TatrError:
            assert contents(root) == before
        else:
            with folder() as into:
                decoded(splits, names, into)


PATHS = [f"/data/{name}/{i}.png" for name in ("ant", "bee") for i in range(5)]
LINES = "".join(f"{path[6:]}\r\n" for path in PATHS[::2]).encode()


@given(mutation=MUTATIONS)
def test_split_lists(mutation: Mutation) -> None:
    with folder() as root:
        (root / "list.txt").write_bytes(mutation.of(LINES))
        try:
            indices = listed(PATHS, root / "list.txt")
        except TatrError as error:
            assert str(error).startswith(f"{root}/list.txt")
        else:
            assert len(set(indices.tolist())) == len(indices) > 0
            assert {*indices.tolist()} <= {*range(len(PATHS))}


@given(st.lists(st.text(max_size=12) | st.sampled_from(PATHS), max_size=6))
def test_split_lists_of_any_text(lines: list[str]) -> None:
    with folder() as root:
        (root / "list.txt").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
        try:
            listed(PATHS, root / "list.txt")
        except TatrError:
            return
        assert all(any(path.endswith(line.strip().strip("/")) for path in PATHS) for line in lines)


@pytest.fixture(scope="module")
def natives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Known data sets, each in a folder of its own."""
    root = tmp_path_factory.mktemp("natives")
    for name in ("mnist", "svhn", "gtsrb", "dtd", "stanford_cars"):
        classes = NATIVE[name].classes[:3] if name == "gtsrb" else NATIVE[name].classes
        NATIVE[name].write(root / name, classes, 2)
    return root


TABLES = {
    "mnist": ("train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz"),
    "svhn": ("train_32x32.mat",),
    "gtsrb": ("gtsrb/GT-final_test.csv",),
    "dtd": ("dtd/dtd/labels/train1.txt",),
    "stanford_cars": ("devkit/cars_train_annos.mat", "devkit/cars_meta.mat", "cars_test_annos_withlabels.mat"),
}


@given(name=st.sampled_from(sorted(TABLES)), number=st.integers(0, 2), mutation=MUTATIONS, packed=st.booleans())
def test_files_of_known_data_sets(natives: Path, name: str, number: int, mutation: Mutation, packed: bool) -> None:
    base = natives / name / ("stanford_cars" if name == "stanford_cars" else "")
    path = base / TABLES[name][number % len(TABLES[name])]
    whole = path.read_bytes()
    inside = packed and path.suffix == ".gz"
    try:
        path.write_bytes(gzip.compress(mutation.of(gzip.decompress(whole))) if inside else mutation.of(whole))
        before = contents(natives / name)
        for read in (torchvision.look, torchvision.load):
            _read(read, natives / name, NATIVE[name].keys)
        assert contents(natives / name) == before
    finally:
        path.write_bytes(whole)


def _read(read: Callable[[dict[str, Any]], SourceSplits | int | None], root: Path, keys: dict[str, Any]) -> None:
    settings = {"task": "t", "root": str(root), "source_classnames": None, "counts": None}
    try:
        found = read(DEFAULTS["torchvision"] | settings | keys)
    except TatrError:
        return
    for split in found.splits.values() if isinstance(found, tuple) else ():
        assert len(split) == len(split.labels)
