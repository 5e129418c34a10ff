"""Images in folders: how they are divided, and what a data set can get wrong."""

import logging
import os
import shutil
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tatr.data.class_order import in_order
from tatr.data.decoding import square
from tatr.data.image_store import SPLITS
from tatr.data.pictures import Pictures
from tatr.data.sources import folder, tiny8
from tatr.data.tiny8 import draw_split
from tatr.errors import TatrError

Split = tuple[np.ndarray, np.ndarray]
CLASSES = ["ant", "big_bee", "cat"]


def save(path: Path, colour: int = 0, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 255 - colour, 40)).convert(mode).save(path)


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    """ROOT/train/CLASS/* (10 each) and ROOT/test/CLASS/* (4 each); the colour tells which image it is."""
    for label, name in enumerate(CLASSES):
        for i in range(10):
            save(tmp_path / "train" / name / f"{i}.png", 80 * label + i)
        for i in range(4):
            save(tmp_path / "test" / name / f"{i}.png", 80 * label + 40 + i)
    return tmp_path


@pytest.fixture
def undivided(tmp_path: Path) -> Path:
    """ROOT/CLASS/*, 20 each."""
    for label, name in enumerate(CLASSES):
        for i in range(20):
            save(tmp_path / name / f"{i}.png", 80 * label + i)
    return tmp_path


def settings(folder: Path, **changes: object) -> dict[str, Any]:
    unset = dict.fromkeys(("source_classnames", "counts", "lists", "test_fraction", "limit"))
    return {"task": "mine", "root": str(folder), **unset, "validation_fraction": 0.2, **changes}


def decode(pictures: Pictures) -> Split:
    return np.stack([square(pictures.decode(i), 8, "shortest") for i in range(len(pictures))]), pictures.labels


def load(folder_: Path, **changes: object) -> dict[str, Split]:
    splits, _, _ = folder.load(settings(folder_, **changes))
    return {split: decode(pictures) for split, pictures in splits.items()}


def colours(split: Split) -> list[int]:
    return sorted(split[0][:, 0, 0, 0].tolist())


def test_train_and_test_folders_are_kept_apart_and_validation_is_a_share_of_train(divided: Path) -> None:
    assert folder.load(settings(divided))[1] == ["ant", "big_bee", "cat"]
    splits = load(divided)
    assert {name: len(images) for name, (images, _) in splits.items()} == {"train": 24, "validation": 6, "test": 12}
    assert colours(splits["test"]) == [80 * label + 40 + i for label in range(3) for i in range(4)]
    together = sorted(colours(splits["train"]) + colours(splits["validation"]))
    assert together == [80 * label + i for label in range(3) for i in range(10)]
    for images, labels in splits.values():
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, images[:, 0, 0, 0] // 80)


def test_one_folder_is_divided_into_disjoint_splits(undivided: Path) -> None:
    splits = load(undivided, test_fraction=0.25)
    assert [len(splits[name][0]) for name in SPLITS] == [36, 9, 15]
    assert sorted(c for split in splits.values() for c in colours(split)) == [
        80 * k + i for k in range(3) for i in range(20)
    ]


def test_the_division_is_the_data_sets_own(undivided: Path) -> None:
    one, other = (load(undivided, test_fraction=0.25) for _ in range(2))
    for name in SPLITS:
        np.testing.assert_array_equal(one[name][0], other[name][0])


def test_a_limit_shortens_train_alone(divided: Path) -> None:
    whole, few = load(divided), load(divided, limit=5)
    assert set(colours(few["train"])) < set(colours(whole["train"]))
    assert sorted(np.bincount(few["train"][1])) == [1, 2, 2]  # not those of the first classes
    for name in ("validation", "test"):
        np.testing.assert_array_equal(few[name][0], whole[name][0])


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("L", "png"), ("P", "png"), ("RGBA", "png"), ("1", "png"), ("LA", "png"), ("CMYK", "jpg"), ("RGB", "JPEG")],
)
def test_grey_palette_alpha_and_cmyk_images_become_rgb(divided: Path, mode: str, suffix: str) -> None:
    (divided / "test" / "cat" / "0.png").unlink()
    path = divided / "test" / "cat" / f"0.{suffix}"
    save(path, 160, mode)
    images, _ = load(divided)["test"]
    assert images.shape == (12, 8, 8, 3)
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(images[8], expected)
    if mode == "RGBA":
        np.testing.assert_array_equal(images[8, 0, 0], [160, 95, 40])


@pytest.mark.parametrize("size", [(40, 20), (20, 40), (7, 8), (8, 7), (100, 8)])
def test_images_of_any_shape_are_resized_and_cropped_to_the_centre(divided: Path, size: tuple[int, int]) -> None:
    wide = np.zeros((size[1], size[0], 3), np.uint8)
    wide[size[1] // 2 - 1 : size[1] // 2 + 1, size[0] // 2 - 1 : size[0] // 2 + 1] = 255
    Image.fromarray(wide).save(divided / "test" / "cat" / "0.png")
    image = load(divided)["test"][0][8]
    assert image.shape == (8, 8, 3)
    assert image[3:5, 3:5].mean() > 2 * image.mean()


def empty_class(root: Path) -> None:
    for path in (root / "train" / "cat").iterdir():
        path.rename(path.with_suffix(".txt"))


def unknown_in_test(root: Path) -> None:
    save(root / "test" / "dog" / "0.png")


def empty_test(root: Path) -> None:
    for name in CLASSES:
        shutil.rmtree(root / "test" / name)


def no_test(root: Path) -> None:
    (root / "test").rename(root / "holdout")


def one_class(root: Path) -> None:
    for name in ("ant", "cat"):
        (root / "train" / name).rename(root / name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (empty_class, r"train/cat: holds no image .*is a class empty\?"),
        (unknown_in_test, r"test: class 'dog' is not among the training classes"),
        (no_test, r"test: no such folder, beside 'train' \(.* has holdout, train\)"),
        (empty_test, r"test: holds no image of any class"),
        (one_class, r"train: expected at least two class folders, found 1 \(big_bee\); sort the images into"),
    ],
)
def test_a_bad_data_set_is_refused_by_path(divided: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(divided)
    with pytest.raises(TatrError, match=message):
        folder.load(settings(divided))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"source_classnames": ["a", "b"]},
            r"has 3 classes \(ant, big_bee, cat\), but tasks\.mine\.source_classnames lists 2",
        ),
        ({"validation_fraction": 0.01}, r"30 images are too few to set 0\.01 of them aside"),
        ({"test_fraction": 0.2}, r"test_fraction: .* has folders 'train' and 'test' already; leave the key out"),
        ({"root": "/nowhere/at/all"}, r"tasks\.mine\.root: /nowhere/at/all is no folder"),
        ({"root": "/nowhere/at/all", "test_fraction": 0.2}, r"tasks\.mine\.root: /nowhere/at/all is no folder"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(divided: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        folder.load(settings(divided, **changes))


@pytest.mark.parametrize(
    ("below", "given", "message"),
    [
        ("train/", {}, r"no folder 'train' \(did you mean tasks\.mine\.root: .*/birds, which has folders test, train"),
        (
            "",
            {"test_fraction": 0.2},
            r"found 1 \(birds\) \(did you mean tasks\.mine\.root: .*/birds, which has folders a, b\?",
        ),
    ],
)
def test_a_root_that_is_one_level_too_high_is_recognised(
    tmp_path: Path, below: str, given: dict[str, Any], message: str
) -> None:
    for name in ("a", "b"):
        save(tmp_path / "birds" / below / name / "0.png")
    if below:
        (tmp_path / "birds/test").mkdir()
    with pytest.raises(TatrError, match=message):
        folder.load(settings(tmp_path, **given))


def test_splits_are_not_taken_for_classes(divided: Path) -> None:
    (divided / "test").rename(divided / "val")
    with pytest.raises(TatrError, match=r"called like splits, not like classes \(train, val\)"):
        folder.load(settings(divided, test_fraction=0.2))


VALIDATION = ("val", "valid", "validation", "Val", "dev")


@pytest.mark.parametrize(("train", "other"), [("train", name) for name in VALIDATION] + [("Train", "Valid")])
@pytest.mark.parametrize("keys", [{}, {"test_fraction": 0.2}, {"lists": {"train": "a.txt", "test": "b.txt"}}])
def test_advice_about_other_splits_can_be_followed(divided: Path, train: str, other: str, keys: dict[str, Any]) -> None:
    (divided / "test").rename(divided / other)
    (divided / "train").rename(divided / train)
    (divided / "annotations").mkdir()
    with pytest.raises(TatrError) as caught:
        folder.load(settings(divided, **keys))
    old = [(train, "train")] * (train != "train") + [(other, "test")]
    rename = " and ".join(f"'{name}' to '{new}'" for name, new in old)
    other_way = f"set tasks.mine.root: {divided / train}, with test_fraction"
    assert f"rename {rename}, without test_fraction and lists; or {other_way}" in str(caught.value)
    assert set(load(divided / train, test_fraction=0.2)) == set(SPLITS)
    for name, new in old:
        (divided / name).rename(divided / new)
    assert len(load(divided)["test"][0]) == 12


def test_a_class_may_be_called_like_a_split(undivided: Path) -> None:
    """Trains, planes and buses: a class holds images, a split holds classes."""
    (undivided / "cat").rename(undivided / "train")
    assert folder.load(settings(undivided, test_fraction=0.25)).classnames == ["ant", "big_bee", "train"]
    with pytest.raises(TatrError, match=r"test: no such folder, .*; if 'train' is a class, set test_fraction"):
        folder.load(settings(undivided))


def test_splits_without_classes_are_no_classes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for i in range(20):
            save(tmp_path / split / f"{i}.png")
    with pytest.raises(TatrError, match=r"called like splits, .*'train' and 'test' that hold one folder per class"):
        folder.load(settings(tmp_path, test_fraction=0.2))


def test_a_test_set_without_labels_is_no_test_set(divided: Path) -> None:
    for number, path in enumerate((divided / "test").rglob("*.png")):
        path.rename(divided / f"test/{number}.png")
    with pytest.raises(TatrError) as caught:
        folder.load(settings(divided))
    assert "outside of the class folders (12: 0.png, " in str(caught.value)
    assert "give another folder of classes as tasks.mine.root, with test_fraction" in str(caught.value)
    assert load(divided / "train", test_fraction=0.2)


def test_what_lies_beside_train_and_test_is_named(divided: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(divided / "test", divided / "val")
    save(divided / "montage.png")
    (divided / "extra").symlink_to("nowhere")
    with caplog.at_level(logging.INFO):
        assert folder.load(settings(divided)).unused == {
            "beside": [f"{divided}/{name}" for name in ("extra", "montage.png", "val")]
        }
    assert "not used: beside train and test (3: extra, montage.png, val)" in caplog.text


def test_all_that_is_wrong_with_a_task_is_said_at_once(divided: Path) -> None:
    wrong = {"source_classnames": ["ant", "bee"], "counts": {"train": 9, "test": 12}}
    with pytest.raises(TatrError) as caught:
        folder.load(settings(divided, **wrong))
    head, *lines = str(caught.value).split("\n  ")
    assert head == "2 problems:"
    assert "has 3 classes" in lines[0]
    assert "has 30 train images, expected 9" in lines[1]


def test_a_folder_that_cannot_be_listed_is_no_empty_one(divided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def closed(folder: str) -> Any:  # noqa: ANN401
        if str(folder).endswith("ant"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr("os.scandir", closed)
    with pytest.raises(TatrError, match=r"ant: can't be listed \(Permission denied\); make it readable"):
        folder.load(settings(divided))


def test_an_undivided_folder_needs_a_test_fraction(undivided: Path) -> None:
    with pytest.raises(TatrError, match=r"has no folder 'train'; set tasks\.mine\.test_fraction to"):
        folder.load(settings(undivided))
    with pytest.raises(TatrError, match=r"60 images are too few to set 0\.01 of them aside"):
        folder.load(settings(undivided, test_fraction=0.01))


def test_validation_and_test_hold_the_same_share_of_every_class(undivided: Path) -> None:
    splits = load(undivided, test_fraction=0.25)
    for name, share in (("train", 12), ("validation", 3), ("test", 5)):
        np.testing.assert_array_equal(np.bincount(splits[name][1]), [share] * 3)


def test_a_class_may_lack_test_images_but_not_in_silence(divided: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(divided / "test" / "big_bee")
    with caplog.at_level(logging.WARNING):
        splits, classnames, _ = folder.load(settings(divided))
    np.testing.assert_array_equal(np.bincount(splits["test"].labels), [4, 0, 4])
    assert classnames == ["ant", "big_bee", "cat"]
    (record,) = caplog.records
    assert "a class has no test image: big_bee" in record.getMessage()


def test_folders_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "100"):
        for i in range(10):
            save(tmp_path / name / f"{i}.png", int(name))
    assert folder.load(settings(tmp_path, test_fraction=0.2))[1] == ["9", "10", "100"]
    images, labels = load(tmp_path, test_fraction=0.2)["train"]
    np.testing.assert_array_equal(np.array([9, 10, 100])[labels], images[:, 0, 0, 0])


def test_the_order_depends_on_the_names_alone() -> None:
    ordered = ["001", "01", "1", "2" * 5000]  # of a length that Python takes for no number
    assert [in_order(names) for names in permutations(ordered)] == [ordered] * 24


def test_hidden_files_and_folders_are_no_data(divided: Path) -> None:
    before, classnames = load(divided), folder.load(settings(divided))[1]
    save(divided / "train" / ".ipynb_checkpoints" / "0.png")
    save(divided / "train" / "cat" / ".thumbnails" / "0.png")
    (divided / "train" / "cat" / "._1.png").write_text("resource fork")
    after = load(divided)
    assert folder.load(settings(divided))[1] == classnames
    assert colours(after["train"]) == colours(before["train"])


@pytest.fixture
def listed(undivided: Path) -> Path:
    """ROOT/CLASS/* with lists in a folder of their own: every class's images 0 to 11 for train, 12 to 16 for test."""
    (undivided / "lists").mkdir()
    for split, which in (("train", range(12)), ("test", range(12, 17))):
        lines = [f"/{name}/{i}.png" for i in which for name in CLASSES]
        (undivided / "lists" / f"{split}.txt").write_text("\n".join(lines))
    return undivided


LISTS = {"train": "lists/train.txt", "test": "lists/test.txt"}


def test_lists_say_which_images_are_train_and_test(listed: Path) -> None:
    splits = load(listed, lists=LISTS)
    assert colours(splits["test"]) == [80 * k + i for k in range(3) for i in range(12, 17)]
    together = sorted(colours(splits["train"]) + colours(splits["validation"]))
    assert together == [80 * k + i for k in range(3) for i in range(12)]
    np.testing.assert_array_equal(splits["test"][1], splits["test"][0][:, 0, 0, 0] // 80)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_fraction": 0.2}, r"tasks\.mine: test_fraction and lists both say"),
        ({"counts": {"train": 36, "test": 16}}, r"has 15 test images, expected 16.*tasks\.mine\.counts"),
        ({"source_classnames": ["ant", "cat", "big bee"]}, r"class order differs, first at label 1 is 'big_bee'"),
        ({"lists": {**LISTS, "test": "lists/validation.txt"}}, r"lists/validation\.txt: not a readable list"),
    ],
)
def test_what_is_found_must_be_what_is_expected(listed: Path, changes: dict[str, Any], message: str) -> None:
    right = {"lists": LISTS, "source_classnames": ["Ant", "big bee", "Cat"], "counts": {"train": 36, "test": 15}}
    load(listed, **right)
    with pytest.raises(TatrError, match=message):
        folder.load(settings(listed, **{**right, **changes}))


def test_nothing_is_decoded_to_find_images(divided: Path) -> None:
    for path in divided.rglob("*.png"):
        path.write_text("no image")
    splits, _, _ = folder.load(settings(divided))
    assert [len(splits[name]) for name in SPLITS] == [24, 6, 12]
    assert splits["test"].where(5) == str(divided / "test" / "big_bee" / "1.png")


def test_tiny8_draws_what_it_always_drew() -> None:
    given = {"task": "cars", "source_classnames": ["red van", "blue van"], "size": 32, "seed": 3}
    splits, classnames, _ = tiny8.load({**given, "train": 5, "validation": 2, "test": 3})
    assert classnames == given["source_classnames"]
    for name, count in (("train", 5), ("validation", 2), ("test", 3)):
        images, labels = draw_split("cars", given["source_classnames"], name, count, 3)
        np.testing.assert_array_equal(splits[name].labels, labels)
        for index, image in enumerate(images):
            np.testing.assert_array_equal(square(splits[name].decode(index), 32, "shortest"), image)


def test_tiny8_draws_one_size_only() -> None:
    with pytest.raises(TatrError, match="takes images of 224 pixels, but tiny8 draws 32"):
        tiny8.load({"task": "cars", "source_classnames": ["a"], "size": 224})
