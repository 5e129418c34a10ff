"""Chunks and metadata are those of Zarr v3: what we write Zarr reads, and the other way round, to the byte."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec, GzipCodec, ZstdCodec

from tatr.errors import TatrError
from tatr.vectors import layout, store
from tatr.vectors.chunks import Form
from tatr.vectors.layout import blocks
from tatr.vectors.store import StoredVector, write_vector

FULL = Path("/dev/full")
CODECS = {"float32": [Crc32cCodec()], "bool": [ZstdCodec(level=1), Crc32cCodec()]}


def by_zarr(path: Path, values: np.ndarray, chunk: int = 8, codecs: object = None) -> None:
    """A vector as Zarr writes it."""
    array = zarr.create_array(
        store=path,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(chunk,) * values.ndim,
        compressors=codecs or CODECS[values.dtype.name],
        attributes={"layout": "L"},
        config={"write_empty_chunks": True},
    )
    array[:] = values


def by_us(path: Path, values: np.ndarray, chunk: int = 8) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (layout, store):
            patch.setattr(module, "BLOCK", chunk)
        write_vector(path, len(values), "L", (values[block] for block in blocks(len(values))), values.dtype.type)


@given(st.integers(1, 40), st.sampled_from([np.float32, bool]), st.integers(0, 9))
def test_zarr_and_we_write_and_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, size: int, dtype: type, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(-2, 2, size).astype(dtype)
    folder, chunk = tmp_path_factory.mktemp("store"), min(8, size)
    by_us(folder / "ours", values)
    by_zarr(folder / "theirs", values, chunk)
    np.testing.assert_array_equal(zarr.open_array(folder / "ours", mode="r")[:], values)
    np.testing.assert_array_equal(StoredVector(folder / "theirs")[0:size], values)
    ours, theirs = (
        {path.relative_to(folder / name): path.read_bytes() for path in (folder / name).rglob("*") if path.is_file()}
        for name in ("ours", "theirs")
    )
    assert ours.keys() == theirs.keys()
    metadata = [json.loads(files.pop(Path("zarr.json"))) for files in (ours, theirs)]
    assert metadata[0] == metadata[1]
    if dtype is np.float32:  # compressed bytes depend on the compressor's version
        assert ours == theirs


def test_a_whole_block_of_a_mask_passes_between_both(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(2**18 + 5) < 0.99
    by_us(tmp_path / "ours", values, 2**17)
    by_zarr(tmp_path / "theirs", values, 2**17)
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "ours", mode="r")[:], values)
    np.testing.assert_array_equal(StoredVector(tmp_path / "theirs")[0 : len(values)], values)


@pytest.mark.parametrize(
    ("values", "codecs"),
    [
        (np.arange(20, dtype=np.float32), [GzipCodec(), Crc32cCodec()]),
        (np.arange(20, dtype=np.float32), [ZstdCodec(level=1)]),
        (np.arange(20, dtype=np.float64), [Crc32cCodec()]),
        (np.arange(20, dtype=np.int8), [Crc32cCodec()]),
        (np.zeros((4, 5), np.float32), [Crc32cCodec()]),
        (np.zeros(20, bool), [Crc32cCodec()]),
    ],
    ids=["compressed", "without checksums", "float64", "int8", "two dimensions", "mask as it is"],
)
def test_arrays_of_another_form_are_refused(tmp_path: Path, values: np.ndarray, codecs: list[object]) -> None:
    by_zarr(tmp_path / "v", values, 4, codecs)
    with pytest.raises(TatrError, match=r"v: not a vector store \(.+\); `tatr verify --repair"):
        StoredVector(tmp_path / "v")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [-3]),
        ("shape", [2.5]),
        ("shape", 20),
        ("chunk_grid", {"name": "regular", "configuration": {"chunk_shape": [0]}}),
        ("chunk_grid", {"name": "rectilinear"}),
        ("data_type", "no type"),
        ("data_type", None),
        ("attributes", {}),
        ("attributes", {"layout": 3}),
        ("codecs", []),
        ("fill_value", 1.0),
        ("must_be_understood", {"name": "new"}),
    ],
)
def test_metadata_that_says_something_else_is_refused(tmp_path: Path, key: str, value: object) -> None:
    by_us(tmp_path / "v", np.arange(20, dtype=np.float32))
    metadata = tmp_path / "v" / "zarr.json"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {key: value}))
    with pytest.raises(TatrError, match=r"v: not a vector store \(.+\); `tatr verify --repair"):
        StoredVector(tmp_path / "v")


def test_a_chunk_of_another_length_is_refused_though_its_checksum_matches(tmp_path: Path) -> None:
    by_us(tmp_path / "short", np.ones(8, bool), 4)
    by_us(tmp_path / "long", np.ones(8, bool), 8)
    (tmp_path / "short" / "c" / "0").replace(tmp_path / "long" / "c" / "0")
    with pytest.raises(TatrError, match=r"long: damaged \(.+\); `tatr verify --repair"):
        StoredVector(tmp_path / "long")[0:8]


@pytest.mark.skipif(not FULL.exists(), reason="a device that is always full")
@pytest.mark.parametrize("dtype", [np.float32, bool])
@pytest.mark.parametrize("size", [3, 2**20])
def test_a_disk_that_is_full_when_a_chunk_is_written_surfaces_as_such(size: int, dtype: type) -> None:
    with pytest.raises(OSError, match=r"No space left") as failed:
        Form(size, np.dtype(dtype), size, "L").write_chunk(FULL, np.zeros(size, dtype))
    assert failed.value.errno == errno.ENOSPC


def test_a_store_is_not_written_over_another(tmp_path: Path) -> None:
    form = Form(3, np.dtype(np.float32), 3, "L")
    form.create(tmp_path / "v")
    with pytest.raises(FileExistsError):
        form.create(tmp_path / "v")
