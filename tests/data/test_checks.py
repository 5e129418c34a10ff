"""What a data source found against what is expected of it; and lists of images."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tatr.data.checks import check_counts, check_labels, check_names, three_splits
from tatr.data.pictures import ImageArray
from tatr.data.sources.lists import listed, listed_splits
from tatr.errors import TatrError


def settings(**given: object) -> dict[str, Any]:
    return {"task": "t", "labels": None, "classnames": None, "images": None} | given


@pytest.mark.parametrize(
    ("found", "labels"),
    [
        (["Annual_Crop", "SeaLake"], ["AnnualCrop", "sea lake"]),
        (["00000", "00007", "00010"], ["0", "7", "10"]),
        (["0 - zero", "1 - one"], ["0zero", "1_one"]),
        (["desert/sand", "T-shirt/top"], ["Desert sand", "T - shirt / top"]),
        (["お", "き"], ["お", "き"]),
        (["+", "−"], ["+", "−"]),
    ],
)
def test_spelling_does_not_matter(found: list[str], labels: list[str]) -> None:
    prompts = [f"number {i}" for i in range(len(labels))]
    assert check_names(found, settings(labels=labels, classnames=prompts), "here") == prompts


@pytest.mark.parametrize(
    ("found", "given", "message"),
    [
        (["a", "c", "b"], {"labels": ["a", "b", "c"]}, "class order differs, first at label 1 is 'c' there and 'b'"),
        (["b", "a"], {"classnames": ["A", "B"]}, r"class order differs, first at label 0 is 'b' .* tasks.t.classnames"),
        (["a", "d"], {"labels": ["a", "b"]}, "names differ, first at label 1 is 'd' there and 'b' in tasks.t.labels"),
        (["+", "−"], {"labels": ["−", "+"]}, "class order differs"),
        (["0", "10"], {"labels": ["0", "1"]}, "class names differ"),
        (["a"], {"labels": ["a", "b"]}, r"has 1 classes \(a\), but tasks.t.labels lists 2 \(a, b\), missing: b; use"),
        (["a", "b"], {"classnames": ["x", "y", "z"]}, r"2 classes \(a, b\), but tasks.t.classnames lists 3 \(x,"),
        (["a", "b"], {"labels": ["a", "b"], "classnames": ["x"]}, "labels: lists 2 classes, but tasks.t.classnames 1"),
        (None, {}, "tasks.t.classnames: must be given, since here doesn't name its classes"),
    ],
)  # fmt: skip
def test_other_classes_are_errors(found: list[str] | None, given: dict[str, Any], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        check_names(found, settings(**given), "here")


def test_what_cannot_be_checked_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert check_names(["no tumor", "tumor"], settings(classnames=["healthy", "ill"]), "here") == ["healthy", "ill"]
        assert check_names(None, settings(classnames=["healthy", "ill"]), "there") == ["healthy", "ill"]
    assert "here: calls its classes no tumor, tumor" in caplog.messages[0]
    assert "there: names no classes" in caplog.messages[1]


def test_names_of_the_source_serve_where_no_others_are_given() -> None:
    assert check_names(["sea_lake", "forest"], settings(), "here") == ["sea lake", "forest"]


def test_counts() -> None:
    check_counts({"train": 3, "test": 2}, settings(images={"train": 3, "test": None}), "here")
    check_counts({"train": 3, "test": 2}, settings(), "here")
    with pytest.raises(TatrError, match=r"here: has 2 test images, expected 4.* set tasks.t.images"):
        check_counts({"train": 3, "test": 2}, settings(images={"train": 3, "test": 4}), "here")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 1, 3], [0], "train has label 3, expected 0 to 2"),
        ([0, 1, 2], [0, -1], "test has label -1, expected 0 to 2"),
        ([0, 0, 2], [0], r"a class has no train image: b \(label 1\)"),
        ([0, 0, 0], [0], r"2 classes have no train image: b \(label 1\), c \(label 2\)"),
        ([], [0], "has no train images"),
    ],
)
def test_labels(train: list[int], test: list[int], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        check_labels(np.array(train, np.int64), np.array(test, np.int64), ["a", "b", "c"], "here")


def test_a_class_without_test_images_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    check_labels(np.array([0, 1]), np.array([1, 1]), ["a", "b"], "here")
    assert "a class has no test image: a (label 0)" in caplog.text


def test_three_splits() -> None:
    labels = np.repeat([0, 1], 50)
    pictures = ImageArray(np.arange(100, dtype=np.uint8).repeat(3).reshape(100, 1, 1, 3), labels, "here")
    given = settings(validation_fraction=0.1, limit=None)
    splits, names = three_splits(pictures, pictures, ["a", "b"], given, "here")
    assert [len(splits[split]) for split in ("train", "validation", "test")] == [90, 10, 100]
    assert names == ["a", "b"]
    there = sorted(
        np.asarray(splits[s].decode(i))[0, 0, 0] for s in ("train", "validation") for i in range(len(splits[s]))
    )
    assert there == list(range(100))
    few, _ = three_splits(pictures, pictures, ["a", "b"], given | {"limit": 20}, "here")
    assert len(few["train"]) == 20
    assert set(few["train"].labels) == {0, 1}  # sorted by class, and yet both are there
    assert [few["validation"].where(i) for i in range(10)] == [splits["validation"].where(i) for i in range(10)]
    assert isinstance(few["train"].decode(0), Image.Image)


@pytest.fixture
def write(tmp_path: Path) -> Any:  # noqa: ANN401
    def write(*lines: str, name: str = "list.txt") -> Path:
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return write


PATHS = [Path("/d/a/abbey/1.jpg"), Path("/d/b/bar/1.jpg"), Path("/d/b/bar/2.jpg"), Path("/d/x/bar/3.jpg")]


def test_lists_name_images_by_the_end_of_their_paths(write: Any) -> None:  # noqa: ANN401
    assert listed(PATHS, write("2.jpg", "", "/a/abbey/1.jpg", " b/bar/1.jpg ")).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("4.jpg", r"list.txt:2: names '4.jpg', but no image's path ends so \(of 4\)"),
        ("ar/1.jpg", "no image's path ends so"),
        ("1.jpg", r"fits 2 images, such as /d/a/abbey/1.jpg and /d/b/bar/1.jpg"),
        ("bar/3.jpg", "names 'bar/3.jpg' again, after line 1"),
    ],
)
def test_wrong_entries(write: Any, entry: str, message: str) -> None:  # noqa: ANN401
    with pytest.raises(TatrError, match=message):
        listed(PATHS, write("3.jpg", entry))


def test_lists_that_are_no_lists(write: Any, tmp_path: Path) -> None:  # noqa: ANN401
    with pytest.raises(TatrError, match="names no images"):
        listed(PATHS, write(""))
    with pytest.raises(TatrError, match="not a readable list"):
        listed(PATHS, tmp_path / "none.txt")
    write("3.jpg", "2.jpg", name="train.txt")
    write("2.jpg", name="test.txt")
    with pytest.raises(TatrError, match=r"1 images are named by both train.txt and test.txt, first /d/b/bar/2.jpg"):
        listed_splits(PATHS, tmp_path, {"train": "train.txt", "test": "test.txt"})
