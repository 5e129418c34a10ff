"""Vectors and images on disk: what is written is read; damage of any kind is found, never read as zeros."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import read_split, write_images

from tatr.data import image_store
from tatr.data.image_store import digest_images
from tatr.errors import TatrError
from tatr.vectors import layout, store
from tatr.vectors.chunks import Form
from tatr.vectors.layout import blocks
from tatr.vectors.store import StoredVector, digest_vector, open_vectors, read, write_vector
from tatr.workflow.artefact import FILE, Artefact
from tatr.workflow.verification import problems

VALUES = np.random.default_rng(0).normal(size=29).astype(np.float32)
Damage = Callable[[Path], None]


def write(path: Path, values: np.ndarray, layout: str = "L") -> str:
    parts = (values[block] for block in blocks(len(values)))
    return write_vector(path, len(values), layout, parts, values.dtype.type)


def data_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@given(st.integers(1, 60), st.sampled_from([np.float32, bool]), st.integers(0, 9))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, size: int, dtype: type, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-5, 5, size).astype(dtype)
    path = tmp_path_factory.mktemp("store") / "vector.zarr"
    with pytest.MonkeyPatch.context() as patch:
        for module in (layout, store):
            patch.setattr(module, "BLOCK", 8)
        digest = write(path, values)
        vector = StoredVector(path)
        assert vector[0:size].dtype == dtype
        np.testing.assert_array_equal(vector[0:size], values)
        np.testing.assert_array_equal(np.concatenate(list(read(vector))), values)
        assert digest_vector(path) == digest


def test_a_vector_of_several_real_chunks(tmp_path: Path) -> None:
    values = np.arange(store.BLOCK + 10, dtype=np.float32)
    write(tmp_path / "v", values)
    assert [path.name for path in data_files(tmp_path / "v")] == ["0", "1"]
    vector = StoredVector(tmp_path / "v")
    np.testing.assert_array_equal(vector[store.BLOCK - 3 : store.BLOCK + 10], values[-13:])


def test_the_digest_is_of_values_type_length_and_layout(tmp_path: Path, small_blocks: None) -> None:
    other = VALUES.copy()
    other[17] = np.nextafter(other[17], np.float32(9))
    digests = [
        write(tmp_path / "0", VALUES),
        write(tmp_path / "1", other),
        write(tmp_path / "2", VALUES[:-1]),
        write(tmp_path / "3", VALUES, layout="another"),
        write(tmp_path / "4", np.zeros(29, np.float32)),
        write(tmp_path / "5", np.zeros(29, bool)),
    ]
    assert len(set(digests)) == len(digests)
    assert write(tmp_path / "6", VALUES) == digests[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_not_written(tmp_path: Path, small_blocks: None, bad: float) -> None:
    values = VALUES.copy()
    values[[20, 25]] = bad
    with pytest.raises(TatrError, match=r"entry 20 would be NaN or infinite"):
        write(tmp_path / "v", values)


def test_parts_must_be_cut_like_blocks(tmp_path: Path, small_blocks: None) -> None:
    with pytest.raises(TatrError, match=r"shape \(7,\), expected \(8,\)"):
        write_vector(tmp_path / "short", 16, "L", [VALUES[:7], VALUES[7:16]])
    with pytest.raises(ValueError, match=r"shorter"):
        write_vector(tmp_path / "few", 16, "L", [VALUES[:8]])
    with pytest.raises(ValueError, match=r"longer"):
        write_vector(tmp_path / "many", 8, "L", [VALUES[:8], VALUES[8:16]])


def test_vectors_of_different_layouts_are_not_combined(tmp_path: Path, small_blocks: None) -> None:
    write(tmp_path / "a", VALUES, "vit-b-32")
    write(tmp_path / "b", VALUES, "vit-l-14")
    assert len(open_vectors([tmp_path / "a", tmp_path / "a"])) == 2
    with pytest.raises(TatrError, match=r"b: was made for another encoder than .*a; check the backbone"):
        open_vectors([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(TatrError, match=r"a: was made for another encoder"):
        open_vectors([tmp_path / "a"], "vit-l-14")


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"zarr_format": 3, "node_type": "group"}'])
def test_what_is_no_vector_store_is_refused_by_path(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "v").mkdir()
        (tmp_path / "v" / "zarr.json").write_text(content)
    with pytest.raises(TatrError, match=r"v: not a vector store"):
        StoredVector(tmp_path / "v")


@pytest.mark.parametrize("damage", [delete, truncate, empty, "flip"])
def test_a_damaged_chunk_raises_when_read_and_is_named_by_verification(
    make_vector: Callable[..., Path], flip_byte: Damage, small_blocks: None, damage: Damage | str
) -> None:
    manifest = make_vector("task_vector", "cars", VALUES)
    assert list(problems(manifest)) == []
    whole = manifest.parent.with_name("whole")
    shutil.copytree(manifest.parent, whole)
    chunks = [path.relative_to(whole) for path in data_files(whole / "vector.zarr")]
    assert len(chunks) == 4
    for chunk in chunks:
        (flip_byte if isinstance(damage, str) else damage)(manifest.parent / chunk)
        with pytest.raises(TatrError, match=r"vector\.zarr.*tatr verify --repair"):
            list(read(StoredVector(manifest.parent / "vector.zarr")))
        (problem,) = problems(manifest)
        assert "vector.zarr" in problem
        shutil.copy(whole / chunk, manifest.parent / chunk)


def test_no_flipped_bit_or_lost_end_of_a_chunk_changes_what_is_read_unnoticed(
    tmp_path: Path, small_blocks: None
) -> None:
    write(tmp_path / "v", VALUES[:8])
    (chunk,) = data_files(tmp_path / "v")
    whole, unnoticed = chunk.read_bytes(), 0
    damaged = [bytes([*whole[:i], whole[i] ^ 16, *whole[i + 1 :]]) for i in range(len(whole))]
    for content in damaged + [whole[:length] for length in range(len(whole))]:
        chunk.write_bytes(content)
        try:
            np.testing.assert_array_equal(StoredVector(tmp_path / "v")[0:8], VALUES[:8])
            unnoticed += 1
        except TatrError:
            pass
    assert not unnoticed


def test_no_flipped_bit_of_the_metadata_changes_what_passes_verification(
    make_vector: Callable[..., Path], small_blocks: None
) -> None:
    manifest = make_vector("task_vector", "cars", VALUES)
    metadata = manifest.parent / "vector.zarr" / "zarr.json"
    whole = metadata.read_bytes()
    for position in range(0, len(whole), 3):
        metadata.write_bytes(bytes([*whole[:position], whole[position] ^ 1, *whole[position + 1 :]]))
        if not list(problems(manifest)):
            vector = StoredVector(metadata.parent)
            assert vector.layout == "some layout"
            np.testing.assert_array_equal(vector[0 : len(vector)], VALUES)


def test_swapped_chunks_are_found_by_verification(make_vector: Callable[..., Path], small_blocks: None) -> None:
    manifest = make_vector("task_vector", "cars", VALUES)
    first, second, *_ = data_files(manifest.parent / "vector.zarr")
    spare = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(spare)
    (problem,) = problems(manifest)
    assert problem.startswith("vector.zarr: altered")


def test_a_full_disk_surfaces_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Form, "write_chunk", full)
    with pytest.raises(OSError, match=r"No space left") as failed:
        write(tmp_path / "v", VALUES)
    assert failed.value.errno == errno.ENOSPC


def some_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, 4, 4, 3), np.uint8), rng.integers(0, 3, count)


@pytest.fixture
def images(make_artefact: Callable[..., Artefact], monkeypatch: pytest.MonkeyPatch) -> Artefact:
    monkeypatch.setattr(image_store, "SHARD", 64)
    splits = {"train": some_images(100), "validation": some_images(20), "test": some_images(30)}
    return make_artefact(
        "images", "cars", {}, lambda folder: {"images.zarr": write_images(folder / "images.zarr", splits)}
    )


def test_images_survive_the_round_trip(images: Artefact) -> None:
    for split, count in (("train", 100), ("validation", 20), ("test", 30)):
        for found, expected in zip(read_split(images / "images.zarr", split), some_images(count), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
    assert digest_images(images / "images.zarr") == images.manifest.content["images.zarr"]


@pytest.mark.parametrize("damage", [delete, truncate, empty, "flip"])
def test_damaged_images_raise_when_read_and_are_named_by_verification(
    images: Artefact, flip_byte: Damage, damage: Damage | str
) -> None:
    path, manifest = images / "images.zarr", images.folder / FILE
    assert list(problems(manifest)) == []
    files = data_files(path)
    assert len(files) == 7  # two chunks of training images, one of each other array
    for file in files:
        whole = file.read_bytes()
        (flip_byte if isinstance(damage, str) else damage)(file)
        with pytest.raises(TatrError, match=r"images\.zarr.*tatr verify --repair"):
            read_split(path, file.relative_to(path).parts[0])
        (problem,) = problems(manifest)
        assert "images.zarr" in problem
        file.write_bytes(whole)


@pytest.mark.parametrize("content", [None, "", "{}", '{"zarr_format": 3, "node_type": "array"}'])
def test_damaged_metadata_of_images_is_one_clear_error(images: Artefact, content: str | None) -> None:
    metadata = images / "images.zarr" / "train" / "images" / "zarr.json"
    metadata.unlink() if content is None else metadata.write_text(content)
    with pytest.raises(TatrError, match=r"train/images/zarr\.json: (damaged|missing)"):
        _ = images / "images.zarr"
    with pytest.raises(TatrError, match=r"images\.zarr: split 'train' can't be read"):
        read_split(images.folder / "images.zarr", "train")
    assert list(problems(images.folder / FILE))
