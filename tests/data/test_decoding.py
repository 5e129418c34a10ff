"""Decoding images into a store: their pixels, in how much memory, and what can't be decoded."""

import logging
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stored import read_split

from tatr.data import decoding, image_store
from tatr.data.decoding import Decoding, square, write_pictures
from tatr.data.image_store import SPLITS, digest_images
from tatr.data.pictures import ImageFiles, Pictures
from tatr.errors import TatrError

CLASSES = ("ant", "bee", "cat")


def files(folder: Path, count: int) -> ImageFiles:
    """PNG files in which every pixel differs."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{i:03}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (9, 12, 3), np.uint8)).save(path)
    return ImageFiles(paths, np.arange(count) % 3)


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, ImageFiles]:
    return {split: files(tmp_path / split, count) for split, count in zip(SPLITS, (103, 5, 10), strict=True)}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Write a store with shards of 32, over and over; returns the counts."""
    monkeypatch.setattr(image_store, "SHARD", 32)
    monkeypatch.setattr(image_store, "CHUNK", 8)
    folder = tmp_path / "mine"

    def run(splits: dict[str, Pictures], key: str = "key", **how: object) -> dict[str, Any]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        settings = Decoding("mine", 8, **{"threads": 2, **how})
        digest, counts = write_pictures(splits, CLASSES, settings, folder, tmp_path / "saved", key)
        assert digest == digest_images(folder / "images.zarr")
        return counts

    return run


def pixels(pictures: Pictures, resize: str = "shortest", without: tuple[int, ...] = ()) -> np.ndarray:
    return np.stack([square(pictures.decode(i), 8, resize) for i in range(len(pictures)) if i not in without])


@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("threads", [1, 3])
def test_images_are_decoded_in_order_whatever_the_number_of_threads(
    write: Callable[..., dict], splits: dict[str, ImageFiles], tmp_path: Path, threads: int, resize: str
) -> None:
    counts = write(splits, threads=threads, resize=resize)
    nothing = {split: [] for split in SPLITS}
    assert counts == {"train": 103, "validation": 5, "test": 10, "skipped": nothing}
    for split, pictures in splits.items():
        images, labels = read_split(tmp_path / "mine" / "images.zarr", split)
        np.testing.assert_array_equal(images, pixels(pictures, resize))
        np.testing.assert_array_equal(labels, pictures.labels)


def test_pixels_are_those_of_torchvision(tmp_path: Path) -> None:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    clip = Compose([Resize(24, InterpolationMode.BICUBIC), CenterCrop(24)])
    for number, size in enumerate([(40, 31), (31, 40), (24, 24), (25, 99), (10, 13), (24, 25)]):
        noise = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "x.jpg")
        picture = Image.open(tmp_path / "x.jpg")
        np.testing.assert_array_equal(square(picture, 24, "shortest"), np.asarray(clip(picture)))
        squashed = Resize((24, 24), InterpolationMode.BICUBIC)(picture)
        np.testing.assert_array_equal(square(picture, 24, "squash"), np.asarray(squashed))


def test_an_image_is_not_turned_as_its_exif_data_say(tmp_path: Path) -> None:
    half = np.zeros((8, 8, 3), np.uint8)
    half[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # "turned by 90°"
    Image.fromarray(half).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(square(Image.open(tmp_path / "x.png"), 8, "shortest"), half)


class Counting:
    """Pictures without number, of which it is known how many were decoded at most before they were stored."""

    def __init__(self, count: int) -> None:
        self.labels, self.decoded = np.arange(count) % 3, 0

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, index: int) -> Image.Image:
        self.decoded += 1
        return Image.new("RGB", (8, 8), (index % 256, index // 256, 0))

    def where(self, index: int) -> str:
        return f"picture {index}"


def test_one_shard_is_in_memory_and_what_is_decoded_ahead(
    write: Callable[..., dict], splits: dict[str, ImageFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, ahead, note = Counting(400), [], decoding._Journal.add

    def add(journal: decoding._Journal, split: str, images: int, stop: int, skipped: list[int]) -> None:
        note(journal, split, images, stop, skipped)
        if split == "train":
            ahead.append(train.decoded - stop)

    monkeypatch.setattr(decoding._Journal, "add", add)
    write({**splits, "train": train})
    assert len(ahead) == 13
    assert max(ahead) <= decoding.AHEAD


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def text(path: Path) -> None:
    path.write_text("<html>404</html>", encoding="utf-8")


def truncated_jpeg(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-500])


def bomb(path: Path) -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))))


def needle(path: Path) -> None:
    Image.new("1", (100_000_000 // 64, 1)).save(path, "PNG")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (broken, ""),
        (text, "cannot identify image file"),
        (truncated_jpeg, "truncated"),
        (bomb, "decompression bomb"),
        (needle, "too long and narrow"),
    ],
)
def test_an_unreadable_image_stops_the_job_by_name(
    write: Callable[..., dict], splits: dict[str, ImageFiles], damage: Callable[[Path], None], reason: str
) -> None:
    damage(splits["train"].paths[20])
    remedy = (
        r"; fix or remove it, or set tasks\.mine\.unreadable: skip to leave such images out "
        r"\(at most 1% of a task's images\)"
    )
    with pytest.raises(TatrError, match=rf"train/020\.png: not a readable image \(.*{reason}.*\){remedy}"):
        write(splits)
    counts = write(splits, unreadable="skip")
    assert counts["train"] == 102
    assert counts["skipped"] == {"train": [str(splits["train"].paths[20])], "validation": [], "test": []}


def test_several_unreadable_images_are_named_at_once(write: Callable[..., dict], splits: dict[str, ImageFiles]) -> None:
    for index in (9, 14, 60):
        text(splits["train"].paths[index])
    with pytest.raises(TatrError, match=r"train/009.*train/014.*; fix or remove them, or set") as stopped:
        write(splits)
    assert "060" not in str(stopped.value)  # in another shard, not decoded yet
    assert "\n" not in str(stopped.value)
    for path in splits["train"].paths:
        text(path)
    with pytest.raises(TatrError) as stopped:
        write(splits)
    assert len(re.findall("not a readable image", str(stopped.value))) == 10


@pytest.mark.parametrize("index", [0, 31, 32, 95, 102])
def test_what_is_left_out_is_counted_and_the_rest_is_as_it_was(
    write: Callable[..., dict],
    splits: dict[str, ImageFiles],
    tmp_path: Path,
    index: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = pixels(splits["train"], without=(index,))
    text(splits["train"].paths[index])
    with caplog.at_level(logging.WARNING):
        write(splits, unreadable="skip")
    (record,) = caplog.records
    assert re.search(rf"train/{index:03}\.png: not a readable image \(.*\); left out", record.getMessage())
    images, labels = read_split(tmp_path / "mine" / "images.zarr", "train")
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(labels, np.delete(splits["train"].labels, index))


def test_a_store_without_the_unreadable_is_that_of_the_readable(
    write: Callable[..., dict], splits: dict[str, ImageFiles], tmp_path: Path
) -> None:
    """Shards end where they would have ended, whatever was left out before."""
    train = splits["train"]
    text(train.paths[3])
    write(splits, unreadable="skip")
    digest = digest_images(tmp_path / "mine" / "images.zarr")
    kept = ImageFiles([*train.paths[:3], *train.paths[4:]], np.delete(train.labels, 3))
    write({**splits, "train": kept})
    assert digest_images(tmp_path / "mine" / "images.zarr") == digest


def test_more_than_one_in_a_hundred_are_not_left_out(write: Callable[..., dict], splits: dict[str, ImageFiles]) -> None:
    for index in (3, 90):
        text(splits["train"].paths[index])
    with pytest.raises(TatrError, match=r"train/003.*; .*train/090.*; that is more than 1% of the 118 images of"):
        write(splits, unreadable="skip")


def test_one_of_a_small_split_may_be_left_out(write: Callable[..., dict], splits: dict[str, ImageFiles]) -> None:
    """Of five validation images one is a fifth, but of the task less than one in a hundred."""
    text(splits["validation"].paths[2])
    counts = write(splits, unreadable="skip")
    assert [counts[split] for split in SPLITS] == [103, 4, 10]
    assert counts["skipped"]["validation"] == [str(splits["validation"].paths[2])]


def test_a_split_may_not_lose_more_than_a_few(
    write: Callable[..., dict], splits: dict[str, ImageFiles], tmp_path: Path
) -> None:
    splits["train"] = files(tmp_path / "more", 300)
    for index in (2, 4):
        text(splits["test"].paths[index])
    with pytest.raises(TatrError, match=r"002.*; .*004.*; that is more than 5% of the 10 test images of task 'mine'"):
        write(splits, unreadable="skip")


def test_a_split_may_not_lose_its_only_image(
    write: Callable[..., dict], splits: dict[str, ImageFiles], tmp_path: Path
) -> None:
    splits["validation"] = files(tmp_path / "one", 1)
    text(splits["validation"].paths[0])
    with pytest.raises(TatrError, match=r"tasks\.mine: no validation image of class 'ant' can be decoded"):
        write(splits, unreadable="skip")


def test_a_class_that_loses_its_test_images_is_named(
    write: Callable[..., dict], splits: dict[str, ImageFiles], caplog: pytest.LogCaptureFixture
) -> None:
    splits["test"].labels[:] = [0, 1, 2, 0, 0, 0, 0, 0, 0, 0]
    text(splits["test"].paths[1])
    write(splits, unreadable="skip")
    assert "tasks.mine: class 'bee' has no test image that can be decoded (" in caplog.text


@pytest.mark.parametrize(("index", "kept"), [(20, False), (40, True)])
def test_a_state_without_a_whole_shard_is_not_kept(
    write: Callable[..., dict], splits: dict[str, ImageFiles], tmp_path: Path, index: int, kept: bool
) -> None:
    text(splits["train"].paths[index])
    with pytest.raises(TatrError):
        write(splits)
    assert (tmp_path / "saved").exists() == kept


def test_a_class_may_not_lose_all_its_training_images(
    write: Callable[..., dict], splits: dict[str, ImageFiles]
) -> None:
    splits["train"].labels[splits["train"].labels == 1] = 0
    splits["train"].labels[50] = 1
    text(splits["train"].paths[50])
    with pytest.raises(TatrError, match=r"tasks\.mine: no training image of class 'bee' can be decoded \(.*/050\.png"):
        write(splits, unreadable="skip")


@pytest.mark.parametrize("unreadable", ["stop", "skip"])
@pytest.mark.parametrize("what", ["16 bits", "missing"])
def test_what_is_no_damage_is_never_left_out(
    write: Callable[..., dict], splits: dict[str, ImageFiles], unreadable: str, what: str
) -> None:
    path = splits["train"].paths[40]
    path.unlink()
    if what == "16 bits":
        Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(path)
    message = {
        "16 bits": r"040\.png: has more than 8 bits per colour",
        "missing": r"040\.png: not a readable image \(.*No such",
    }
    with pytest.raises(TatrError, match=message[what]):
        write(splits, unreadable=unreadable)
