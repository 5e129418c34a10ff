"""Reading Parquet files of the Hub: names, order, classes, bounded reading, and what is wrong with them."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import native_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, UnidentifiedImageError

from tatr.data.parquet_names import split_files
from tatr.data.sources import hub
from tatr.data.sources.hub import load
from tatr.errors import TatrError

CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    native_files.write_hub(tmp_path / "set", CLASSES, 10)
    return tmp_path / "set"


def settings(folder: Path | None, **changes: object) -> dict[str, Any]:
    given = native_files.settings("hub", folder or Path(), CLASSES, 10)
    return given | ({} if folder else {"root": None}) | changes


def images(split: Any) -> list[np.ndarray]:  # noqa: ANN401
    return [np.asarray(split.decode(index)) for index in range(len(split))]


def test_every_row_in_order(folder: Path) -> None:
    splits, names, _ = load(settings(None), folder)
    assert names == list(CLASSES)
    expected = [native_files.pixels(label, 10 + i) for i in range(10) for label in range(3)]
    for image, right in zip(images(splits["test"]), expected, strict=True):
        np.testing.assert_array_equal(image, right)
    whole = splits["train"].whole
    np.testing.assert_array_equal(np.asarray(whole.decode(20)), native_files.pixels(2, 6))
    assert whole.where(20) == f"{folder}/data/train-00001-of-00002.parquet, row 5"
    assert whole.labels.tolist() == [0, 1, 2] * 10


def test_several_threads_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "CACHE", 1)  # nearly every image has to be read again
    split = load(settings(folder))[0]["test"]
    order = np.random.default_rng(0).permutation(len(split)).tolist() * 3
    with ThreadPoolExecutor(8) as pool:
        decoded = list(pool.map(lambda index: np.asarray(split.decode(index)), order))
    for index, image in zip(order, decoded, strict=True):
        np.testing.assert_array_equal(image, native_files.pixels(index % 3, 10 + index // 3))


def test_a_row_group_is_read_once_and_little_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = hub._read_images

    def count(group: hub.RowGroup, column: str) -> pa.ChunkedArray:
        read.append(group.number)
        return original(group, column)

    monkeypatch.setattr(hub, "_read_images", count)
    split = load(settings(folder))[0]["test"]
    assert read == []  # finding decodes nothing
    images(split)
    assert read == [0, 1, 2, 3, 4]
    monkeypatch.setattr(hub, "CACHE", 1)
    split = load(settings(folder))[0]["test"]
    images(split)
    assert len(split._read) == 1


def write(path: Path, columns: dict[str, pa.Array], names: list[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def encoded(count: int) -> list[bytes]:
    buffer = io.BytesIO()
    Image.new("L", (3, 2)).save(buffer, "png")
    return [buffer.getvalue()] * count


def test_plain_bytes_and_truth_values(tmp_path: Path) -> None:
    columns = {"image": pa.array(encoded(20)), "label": pa.array([False, True] * 10)}
    for split in ("train", "test"):
        write(tmp_path / f"default/{split}/0000.parquet", columns)
    given = settings(tmp_path, classnames=["no", "yes"], source_classnames=None, counts=None)
    splits, names, _ = load(given)
    assert names is None
    assert splits["test"].labels.tolist() == [0, 1] * 10
    assert splits["test"].decode(3).size == (3, 2)


def test_an_image_without_bytes_is_one_that_cannot_be_decoded(tmp_path: Path) -> None:
    image = pa.array([{"bytes": None, "path": "a.png"}, *({"bytes": b, "path": ""} for b in encoded(19))])
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", {"image": image, "label": pa.array([0, 1] * 10)}, ["a", "b"])
    splits, _, _ = load(settings(tmp_path, classnames=["a", "b"], source_classnames=None, counts=None))
    with pytest.raises(UnidentifiedImageError, match="no image bytes"):
        splits["test"].decode(0)
    assert splits["test"].decode(1).size == (3, 2)


TRAIN, TEST = "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"


@pytest.mark.parametrize(
    ("names", "config", "expected"),
    [
        ([TRAIN, TEST, "data/noise-00000-of-00001.parquet", "README.md"], None, [TRAIN]),
        ([TRAIN, TEST], "cropped", [TRAIN]),
        (["a/train-00000-of-00001.parquet", "b/train-00000-of-00001.parquet"], "b", ["b/train-00000-of-00001.parquet"]),
        (["mnist/train-00000-of-00001.parquet"], None, ["mnist/train-00000-of-00001.parquet"]),
        (["data/train-00000-of-00001-1359597a978bc4fa.parquet"], None,
         ["data/train-00000-of-00001-1359597a978bc4fa.parquet"]),
        (["default/train/0001.parquet", "default/train/0000.parquet", "default/test/0000.parquet"], None,
         ["default/train/0000.parquet", "default/train/0001.parquet"]),
        (["train/0000.parquet", "test/0000.parquet"], None, ["train/0000.parquet"]),
        (["a/train/0000.parquet", "b/train/0000.parquet"], "a", ["a/train/0000.parquet"]),
        (["train.parquet", "test.parquet"], None, ["train.parquet"]),
        ([f"data/train-{i:05d}-of-00011.parquet" for i in reversed(range(11))], None,
         [f"data/train-{i:05d}-of-00011.parquet" for i in range(11)]),
    ],
)  # fmt: skip
def test_names_of_files(names: list[str], config: str | None, expected: list[str]) -> None:
    assert split_files(names, config, "train", "here", "tasks.t") == expected


@pytest.mark.parametrize(
    ("names", "config", "message"),
    [
        (["train.zip"], None, "here: holds no Parquet files"),
        ([TEST], None, r"no Parquet files of split 'train' \(it has test\); set tasks.t.train"),
        (["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"], None,
         r"here: data/train-00001-of-00003.parquet is missing \(2 of 3 are there\)"),
        (["a/train/0000.parquet", "a/train/0002.parquet"], None, "here: a/train/0001.parquet is missing"),
        (["a/train/0000.parquet", "b/train/0000.parquet"], None, r"configurations \(a, b\); set tasks.t.config"),
        (["a/train/0000.parquet", "b/train/0000.parquet"], "c", "no configuration 'c'"),
        ([TRAIN, "data/train-00000-of-00001-1359597a978bc4fa.parquet"], None, "several sets of files of split 'train'"),
        ([TRAIN, "data/train-00001-of-00002.parquet"], None, "several sets of files of split 'train'"),
    ],
)  # fmt: skip
def test_names_that_do_not_do(names: list[str], config: str | None, message: str) -> None:
    with pytest.raises(TatrError, match=message):
        split_files(names, config, "train", "here", "tasks.t")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_column": "img"}, r"has no column 'img' \(image, label\); set tasks.hub.image_column"),
        ({"image_column": "label"}, "column 'label' holds int64, expected encoded images"),
        ({"label_column": "image"}, "column 'image' holds struct.*expected whole numbers"),
        ({"train": "test"}, "train and test are both split 'test'"),
        (
            {"source_classnames": ["dog", "cat", "eel"]},
            "class order differs, first at label 0 is 'cat' there and 'dog'",
        ),
        ({"counts": {"train": 31, "test": 30}}, "has 30 train images, expected 31"),
        ({"root": "/none/such"}, "tasks.hub.root: /none/such is no folder"),
        ({"root": None}, "some/faces was not downloaded"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        load(settings(folder, **changes))


def test_damaged_files(folder: Path) -> None:
    path = folder / "data/train-00001-of-00002.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TatrError, match=rf"{path}: not a complete Parquet file"):
        load(settings(folder))
    path.write_bytes(whole)
    splits, _, _ = load(settings(folder))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TatrError, match=rf"{path}: not a complete Parquet file"):
        splits["train"].whole.decode(29)
    path.unlink()
    with pytest.raises(TatrError, match=r"data/train-00001-of-00002.parquet is missing"):
        load(settings(folder))


def test_files_of_different_data_sets(folder: Path, tmp_path: Path) -> None:
    native_files.write_hub(tmp_path / "other", ("dog", "cat", "eel"), 10)
    name = "data/test-00000-of-00001.parquet"
    (tmp_path / "other" / name).replace(folder / name)
    with pytest.raises(TatrError, match="names other classes than"):
        load(settings(folder))


def test_images_without_labels(tmp_path: Path) -> None:
    for split, labels in (("train", [0, 1] * 10), ("test", [0, None] * 10)):
        write(tmp_path / f"{split}.parquet", {"image": pa.array(encoded(20)), "label": pa.array(labels)}, ["a", "b"])
    with pytest.raises(TatrError, match=r"test.parquet: 10 images have no label"):
        load(settings(tmp_path, source_classnames=None, counts=None))
