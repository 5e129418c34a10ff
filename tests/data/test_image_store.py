"""Reading decoded images piece by piece: the right ones, from as little of the store as needed, and never wrong."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stored import read_split, write_images

from tatr.data import image_store
from tatr.data.image_store import SPLITS, StoredImages, digest_images, open_images, read_labels, shard_path
from tatr.errors import TatrError

COUNT = 23
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 5, 3), np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, COUNT)


@pytest.fixture(scope="module")
def small_shards() -> Iterator[None]:
    """Shards of 8 images, chunks of 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_store, "SHARD", 8)
        patch.setattr(image_store, "CHUNK", 2)
        yield


def write(folder: Path) -> Path:
    none = IMAGES[:0], LABELS[:0]
    write_images(
        folder / "images.zarr", {"train": (IMAGES, LABELS), "validation": none, "test": (IMAGES[:9], LABELS[:9])}
    )
    return folder / "images.zarr"


@pytest.fixture
def store(tmp_path: Path, small_shards: None) -> Path:
    return write(tmp_path)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, small_shards: None) -> StoredImages:
    return open_images(write(tmp_path_factory.mktemp("images")), "train")


def test_shape_and_length_are_known_without_reading(store: Path) -> None:
    for file in store.rglob("c/**/*"):
        if file.is_file():
            file.unlink()
    assert open_images(store, "train").shape == (COUNT, 4, 5, 3)
    assert [len(open_images(store, split)) for split in SPLITS] == [COUNT, 0, 9]


@given(st.lists(st.integers(0, COUNT - 1), max_size=40))
def test_images_are_read_by_index_in_any_order_and_more_than_once(stored: StoredImages, indices: list[int]) -> None:
    which = np.array(indices, np.int64)
    images = stored[which]
    assert images.dtype == np.uint8
    assert images.shape == (len(which), 4, 5, 3)
    np.testing.assert_array_equal(images, IMAGES[which])


@given(st.slices(COUNT))
def test_slices_are_those_of_the_array(stored: StoredImages, block: slice) -> None:
    np.testing.assert_array_equal(stored[block], IMAGES[block])


@pytest.mark.parametrize("indices", [[-1], [COUNT], [0, 5, 99]])
def test_an_index_outside_is_an_error(stored: StoredImages, indices: list[int]) -> None:
    with pytest.raises(IndexError, match=f"of {COUNT} images"):
        stored[np.array(indices)]


def test_only_the_shards_asked_for_are_needed(store: Path) -> None:
    shard_path(store, "train/images", 1).unlink()
    images = open_images(store, "train")
    np.testing.assert_array_equal(images[0:8], IMAGES[0:8])
    np.testing.assert_array_equal(images[np.array([22, 3, 16])], IMAGES[[22, 3, 16]])
    np.testing.assert_array_equal(images[8:8], IMAGES[8:8])
    for which in (slice(7, 9), slice(15, 17), slice(None), np.array([3, 15]), np.array([8])):
        with pytest.raises(TatrError, match=r"train/images/c/1/0/0/0: missing or empty; `tatr verify --repair"):
            images[which]


def test_only_the_chunks_asked_for_are_read(store: Path) -> None:
    shard = shard_path(store, "train/images", 0)
    content = bytearray(shard.read_bytes())
    content[5] ^= 1  # in the first chunk: images 0 and 1
    shard.write_bytes(content)
    images = open_images(store, "train")
    np.testing.assert_array_equal(images[2:8], IMAGES[2:8])
    np.testing.assert_array_equal(images[np.array([7, 2])], IMAGES[[7, 2]])
    for which in (slice(0, 4), np.array([4, 1])):
        with pytest.raises(TatrError, match=r"images\.zarr/train/images: damaged .*tatr verify --repair"):
            images[which]


@pytest.mark.parametrize("damage", ["truncate", "empty", "no folder"])
def test_a_damaged_shard_never_reads_as_black(store: Path, damage: str) -> None:
    shard = shard_path(store, "train/images", 2)
    content = shard.read_bytes()
    shard.unlink()
    if damage != "no folder":
        shard.write_bytes(content[: len(content) // 2 if damage == "truncate" else 0])
    images = open_images(store, "train")
    for which in (slice(20, 22), np.array([21])):
        with pytest.raises(TatrError, match=r"images\.zarr.*(damaged|missing or empty).*; `tatr verify --repair"):
            images[which]


@pytest.mark.parametrize("read", [open_images, read_labels])
def test_an_unknown_split_or_a_damaged_store_is_one_clear_error(
    store: Path, read: Callable[[Path, str], object]
) -> None:
    with pytest.raises(TatrError, match=r"images\.zarr: split 'holdout' can't be read"):
        read(store, "holdout")
    (store / "zarr.json").write_text("{")
    with pytest.raises(TatrError, match=r"images\.zarr: split 'train' can't be read .*; `tatr verify --repair"):
        read(store, "train")


def test_labels_are_read_without_images_and_images_without_labels(store: Path) -> None:
    labels = shard_path(store, "train/labels", 0, 1)
    shard_path(store, "train/images", 0).unlink()
    np.testing.assert_array_equal(read_labels(store, "train"), LABELS)
    assert read_labels(store, "train").dtype == np.int64
    labels.unlink()
    with pytest.raises(TatrError, match=r"train/labels/c/0: missing or empty"):
        read_labels(store, "train")
    np.testing.assert_array_equal(open_images(store, "train")[8:10], IMAGES[8:10])


def whole_array_digest(splits: dict[str, tuple[NDArray, NDArray]]) -> str:
    digest = xxhash.xxh3_128()
    for split in ("train", "validation", "test"):
        for array in splits[split]:
            digest.update(f"{split} {array.dtype}{list(array.shape)}".encode() + array.tobytes())
    return digest.hexdigest()


def test_the_digest_is_that_of_whole_arrays_but_takes_a_shard_at_a_time(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest, read = [0], StoredImages.__getitem__

    def spy(images: StoredImages, which: slice | np.ndarray) -> np.ndarray:
        images_read = read(images, which)
        largest[0] = max(largest[0], len(images_read) if images_read.ndim == 4 else 0)
        return images_read

    monkeypatch.setattr(StoredImages, "__getitem__", spy)
    digest = digest_images(store)
    assert largest == [8]
    assert digest == whole_array_digest({split: read_split(store, split) for split in SPLITS})
    assert digest == whole_array_digest(
        {"train": (IMAGES, LABELS), "validation": (IMAGES[:0], LABELS[:0]), "test": (IMAGES[:9], LABELS[:9])}
    )
