"""Labels and images in Parquet files as people write them: each way works, or is one message before decoding."""

import logging
import re
import resource
import shutil
from pathlib import Path
from typing import Any

import native_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tatr.data.pictures import SourceSplits
from tatr.data.sources import hub
from tatr.errors import TatrError

PNG = native_files.png(0, 0)
LABELS = [0, 1, 2] * 10


def write(root: Path, labels: Any, image: Any = None, name: str = "label", **others: Any) -> Path:  # noqa: ANN401
    """`train.parquet` and `test.parquet` with these labels."""
    root.mkdir(exist_ok=True)
    labels = labels if isinstance(labels, pa.Array) else pa.array(labels)
    for split in ("train", "test"):
        column = pa.array([PNG] * len(labels)) if image is None else image
        pq.write_table(pa.table({"image": column, name: labels, **others}), root / f"{split}.parquet")
    return root


def load(root: Path, **keys: object) -> SourceSplits:
    given = {"task": "t", "dataset": "some/set", "root": str(root), "counts": None, "source_classnames": None}
    return hub.load(native_files.DEFAULTS["hub"] | given | keys)


TEXTS = ["cat", "ant", "10 dogs", "2 dogs"] * 8
TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_texts_become_classes(tmp_path: Path, kind: pa.DataType, caplog: pytest.LogCaptureFixture) -> None:
    encoded = pa.array(TEXTS).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(TEXTS, kind)
    with caplog.at_level(logging.INFO):
        splits, classes, _ = load(write(tmp_path, encoded))
    assert classes == ["2 dogs", "10 dogs", "ant", "cat"]
    assert splits["test"].labels.tolist() == [3, 2, 1, 0] * 8
    assert splits["test"].labels.dtype == np.int64
    assert "column 'label' holds text: 4 classes: 2 dogs, 10 dogs, ant, cat" in caplog.text


def test_texts_are_compared_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(
        TatrError, match=r"class order differs, first at label 0 is 'ant' there and 'cat' in tasks\.t\."
    ):
        load(write(tmp_path, ["cat", "ant"] * 8), source_classnames=["cat", "ant"])


@pytest.mark.parametrize("empty", ["", None])
def test_a_text_may_not_be_missing(tmp_path: Path, empty: str | None) -> None:
    with pytest.raises(TatrError, match=r"train\.parquet: 8 images have no label; leave them out"):
        load(write(tmp_path, ["cat", empty] * 8))


def test_a_class_of_test_alone(tmp_path: Path) -> None:
    write(tmp_path, ["cat", "ant"] * 8)
    table = pa.table({"image": [PNG] * 3, "label": ["cat", "ant", "bee"]})
    pq.write_table(table, tmp_path / "test.parquet")
    with pytest.raises(TatrError, match=r"a class has no train image: bee \(label 1\)"):
        load(tmp_path)


def test_categories_of_numbers(tmp_path: Path) -> None:
    assert load(write(tmp_path, pa.array(LABELS).dictionary_encode())).splits["test"].labels.tolist() == LABELS


def test_files_that_hold_text_and_numbers(tmp_path: Path) -> None:
    write(tmp_path, ["0", "1"] * 8)
    pq.write_table(pa.table({"image": [PNG] * 2, "label": [0, 1]}), tmp_path / "test.parquet")
    with pytest.raises(TatrError, match=r"test\.parquet: its labels are numbers, those of .*train\.parquet text"):
        load(tmp_path)


def test_labels_that_count_from_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, [label + 1 for label in LABELS])
    with pytest.raises(TatrError) as caught:
        load(tmp_path)
    for text in ("labels run from 1 to 3, expected from 0", "the 3 names of the classes as tasks.t.source_classnames"):
        assert text in str(caught.value)
    with caplog.at_level(logging.INFO):
        splits, names, _ = load(tmp_path, source_classnames=["ant", "bee", "cat"])
    assert splits["test"].labels.tolist() == LABELS
    assert names is None
    assert "labels count from 1 to 3: label 1 is class 'ant'" in caplog.text


def test_a_first_class_without_images_does_not_shift_the_others(tmp_path: Path) -> None:
    write(tmp_path, [label + 1 for label in LABELS])
    with pytest.raises(TatrError, match=r"a class has no train image: none \(label 0\)"):
        load(tmp_path, source_classnames=["none", "ant", "bee", "cat"])


def test_labels_of_the_unlabelled(tmp_path: Path) -> None:
    write(tmp_path, LABELS)
    pq.write_table(pa.table({"image": [PNG] * 9, "label": [-1] * 9}), tmp_path / "test.parquet")
    with pytest.raises(TatrError, match=r"test has label -1, .* in 9 of 9 images; .* take a labelled part as test"):
        load(tmp_path)


@pytest.mark.parametrize("label", [10**15, 2**63 - 1])
def test_numbers_that_are_no_labels(tmp_path: Path, label: int) -> None:
    with pytest.raises(TatrError, match=rf"tasks\.t: has label {label}, but only 60 images"):
        load(write(tmp_path, [0, 1, label] * 10))


def test_numbers_beyond_all_bounds(tmp_path: Path) -> None:
    with pytest.raises(TatrError, match=r"train\.parquet: column 'label' holds numbers above 2\^63"):
        load(write(tmp_path, pa.array([0, 2**64 - 1] * 8, pa.uint64())))


def test_columns_of_other_names_are_told_together(tmp_path: Path) -> None:
    write(tmp_path, LABELS, name="fine_label", coarse_label=pa.array([0] * 30))
    for path in tmp_path.iterdir():
        pq.write_table(pq.read_table(path).rename_columns(["img", "fine_label", "coarse_label"]), path)
    with pytest.raises(TatrError) as caught:
        load(tmp_path)
    head, *lines = str(caught.value).split("\n  ")
    assert head == "2 problems:"
    assert "no column 'image' (img, fine_label, coarse_label); set tasks.t.image_column to img" in lines[0]
    assert "no column 'label' (img, fine_label, coarse_label); set tasks.t.label_column to fine_label or c" in lines[1]
    assert load(tmp_path, image_column="img", label_column="fine_label").splits["test"].labels.tolist() == LABELS


@pytest.mark.parametrize("kind", ["text", "struct", "no bytes", "text in a struct"])
def test_paths_without_images(tmp_path: Path, kind: str) -> None:
    paths = [f"images/{i}.png" for i in range(30)]
    columns = {
        "text": pa.array(paths),
        "struct": pa.array([{"path": path} for path in paths]),
        "text in a struct": pa.array([{"path": path, "bytes": "x"} for path in paths]),
        "no bytes": pa.array(
            [{"bytes": None, "path": path} for path in paths],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
    }
    with pytest.raises(TatrError) as caught:
        load(write(tmp_path, LABELS, columns[kind]))
    assert f"{tmp_path}/train.parquet: column 'image' holds" in str(caught.value)
    assert "write the images' own bytes into the files, or take the images from folders" in str(caught.value)


def test_files_of_different_kinds_of_columns(tmp_path: Path) -> None:
    for number, image in enumerate(([PNG] * 30, [{"bytes": PNG}] * 30)):
        write(tmp_path / str(number), LABELS, pa.array(image))
        (tmp_path / str(number) / "train.parquet").rename(tmp_path / f"train-{number:05}-of-00002.parquet")
    (tmp_path / "1/test.parquet").rename(tmp_path / "test.parquet")
    shutil.rmtree(tmp_path / "0")
    with pytest.raises(
        TatrError, match=r"train-00001-of-00002\.parquet: its images are in image\.bytes, those of .* in i"
    ):
        load(tmp_path)


def test_too_many_images_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, LABELS)
    monkeypatch.setattr(hub, "MOST", 1000)
    with pytest.raises(TatrError, match=r"train\.parquet: row group 0 holds .* GB of images, .*small row groups"):
        load(tmp_path)
    for path in tmp_path.iterdir():
        table = pq.read_table(path)
        pq.write_table(table, path, row_group_size=1, use_dictionary=False)
    monkeypatch.setattr(hub, "MOST", 4 * len(PNG))  # pages state their smallest and largest image, too
    assert load(tmp_path).splits["test"].decode(7).size == (32, 32)


@pytest.mark.parametrize("struct", [False, True])
def test_a_small_file_does_not_fill_the_memory(tmp_path: Path, struct: bool) -> None:
    """An image that a file holds once may be named by many rows."""
    image = [PNG + bytes(10**6)] * 900
    column = pa.array([{"bytes": one, "path": ""} for one in image]) if struct else pa.array(image)
    write(tmp_path, LABELS * 30, column)
    assert (tmp_path / "test.parquet").stat().st_size < 100_000
    test = load(tmp_path).splits["test"]
    assert test.decode(899).size == (32, 32)
    assert sum(images.nbytes for images in test._read.values()) < 2 * 10**6


def test_hundreds_of_files_are_open_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"class {i}" for i in range(1000)]
    for number in range(300):
        table = pa.table({"image": [PNG] * 10, "label": [f"class {(10 * number + i) % 1000}" for i in range(10)]})
        for split in ("train", "test"):
            pq.write_table(table, tmp_path / f"{split}-{number:05}-of-00300.parquet")
    opened, file = list[Path](), pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path, **how: (opened.append(path), file(path, **how))[1])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len([*Path("/proc/self/fd").iterdir()]) if Path("/proc/self/fd").exists() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    try:
        splits, classes, _ = load(tmp_path)
        assert len(opened) == 600
        for index in range(0, 3000, 10):
            splits["test"].decode(index)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert classes == names
    assert len(opened) == 900


def test_what_is_kept_is_weighed_once_per_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once per image: a split may have thousands of row groups in memory."""
    write(tmp_path, LABELS)
    for path in tmp_path.iterdir():
        pq.write_table(pq.read_table(path), path, row_group_size=10)
    test, reads = load(tmp_path).splits["test"], list[int]()
    read = hub._read_images

    class Weighed:
        def __init__(self, images: pa.ChunkedArray) -> None:
            self.images = images

        @property
        def nbytes(self) -> int:
            reads.append(1)
            return self.images.nbytes

        def __getitem__(self, index: int) -> Any:  # noqa: ANN401
            return self.images[index]

    monkeypatch.setattr(hub, "_read_images", lambda *what: Weighed(read(*what)))
    for index in range(30):
        test.decode(index)
    assert len(reads) == 2 + 3


@pytest.mark.parametrize("names", ['"abc"', "7", "null", '{"0": "a"}'])
def test_names_that_are_no_list_of_names(tmp_path: Path, names: str) -> None:
    write(tmp_path, LABELS)
    for path in tmp_path.iterdir():
        metadata = {"huggingface": re.sub("NAMES", names, '{"info": {"features": {"label": {"names": NAMES}}}}')}
        pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    assert load(tmp_path).classnames is None


@pytest.mark.parametrize("empty", [" ", "\t\n", "\xa0"])
def test_a_text_of_spaces_is_no_label(tmp_path: Path, empty: str) -> None:
    with pytest.raises(TatrError, match=r"train\.parquet: 15 images have no label"):
        load(write(tmp_path, ["cat", empty] * 15))


@pytest.mark.parametrize("name", ["null", '""'])
def test_a_class_of_numbers_that_has_no_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, LABELS)
    for path in tmp_path.iterdir():
        metadata = {"huggingface": f'{{"info": {{"features": {{"label": {{"names": ["a", {name}, "c\\ud800"]}}}}}}}}'}
        pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    assert load(tmp_path).classnames == ["a", "", "c\\ud800"]
    with pytest.raises(TatrError, match=r"tasks\.t\.classnames: must be given, .* has a class without a name"):
        load(tmp_path, classnames=None)


@pytest.mark.parametrize("name", ["image", "label"])
def test_two_columns_of_one_name(tmp_path: Path, name: str) -> None:
    columns = [("image", pa.array([PNG] * 30)), ("label", pa.array(LABELS))]
    columns += [column for column in columns if column[0] == name]
    for split in ("train", "test"):
        pq.write_table(
            pa.table([values for _, values in columns], [key for key, _ in columns]), tmp_path / f"{split}.parquet"
        )
    with pytest.raises(TatrError, match=rf"train\.parquet: has several columns '{name}'; write it again with one of"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("folder", "name"), [("{}", "part.0.parquet"), ("{}.parquet", "part-00000-1a-c000.snappy.parquet")]
)
def test_folders_that_are_called_like_splits(tmp_path: Path, folder: str, name: str) -> None:
    """Dask and Spark write a folder of parts."""
    write(tmp_path / "written", LABELS)
    for split in ("train", "test"):
        (tmp_path / folder.format(split)).mkdir()
        (tmp_path / f"written/{split}.parquet").rename(tmp_path / folder.format(split) / name)
    told = rf"files in its folder '{folder.format('train')}' are called otherwise .* from 0: train/0000\.parquet$"
    with pytest.raises(TatrError, match=told):
        load(tmp_path)
    for split in ("train", "test"):
        (tmp_path / folder.format(split)).rename(tmp_path / split)
        (tmp_path / split / name).rename(tmp_path / split / "0000.parquet")
    assert load(tmp_path).splits["test"].labels.tolist() == LABELS


def test_what_systems_and_tools_leave_is_no_part(tmp_path: Path) -> None:
    write(tmp_path / "small", LABELS)
    (tmp_path / "small/._train.parquet").write_bytes(b"\0\5\x16\7")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    shutil.copy(tmp_path / "small/train.parquet", tmp_path / ".ipynb_checkpoints/train-checkpoint.parquet")
    assert load(tmp_path).splits["test"].labels.tolist() == LABELS
