"""Images set aside: of every class the same share, never its last image, and alike for every source."""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from native_files import DEFAULTS
from PIL import Image

from tatr.data import splits as splits_module
from tatr.data.pictures import Selection
from tatr.data.sources import folder, hub, torchvision
from tatr.data.splits import MOST_VALIDATION, set_aside, three_splits
from tatr.errors import TatrError

NAMES = [f"class{label}" for label in range(400)]


@dataclass(frozen=True)
class Labelled:
    """Pictures of which only the labels matter."""

    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, index: int) -> Image.Image:
        raise AssertionError(index)

    def where(self, index: int) -> str:
        return f"image {index}"


def of_sizes(sizes: Sequence[int], shuffled: int | None = None) -> Labelled:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return Labelled(labels if shuffled is None else np.random.default_rng(shuffled).permutation(labels))


def settings(**keys: object) -> dict[str, Any]:
    return {"task": "t", "counts": None, "validation_fraction": 0.1, "limit": None} | keys


def aside(pictures: Labelled, fraction: float, most: int | None = None) -> tuple[Selection, Selection]:
    return set_aside(pictures, fraction, NAMES, "tasks.t.test_fraction", "here", most)


SIZES = st.builds(
    lambda sizes, ones, seed: np.random.default_rng(seed).permutation(sizes + [1] * ones).tolist(),
    st.lists(st.integers(1, 40) | st.integers(200, 500), min_size=2, max_size=12),
    st.just(0) | st.integers(1, 100),
    st.integers(0, 5),
)
"""Images of each class; often many classes have one."""
FRACTIONS = st.floats(0.02, 0.99)


@given(SIZES, FRACTIONS, st.integers(0, 5), st.none() | st.integers(1, 30))
def test_every_class_gives_its_share_and_keeps_an_image(
    sizes: list[int], fraction: float, shuffled: int, most: int | None
) -> None:
    pictures, total = of_sizes(sizes, shuffled), sum(sizes)
    count = min(int(total * fraction), most or total)
    assume(count > 0)
    classes = np.array(sizes)
    exact = classes * count / total
    if count > total - len(sizes):
        with pytest.raises(
            TatrError, match=r"would leave no training image .*; lower tasks\.t\.test_fraction"
        ) as error:
            aside(pictures, fraction, most)
        label = next(label for label, name in enumerate(NAMES) if f"'{name}', which has" in str(error.value))
        assert exact[label] > sizes[label] - 1
        return
    rest, others = aside(pictures, fraction, most)
    assert len(others) == count
    shares = np.bincount(others.labels, minlength=len(sizes))
    assert (shares < classes).all()
    assert (shares > exact - 1)[exact <= classes - 1].all()
    rounded_up = -(-classes * count // total)
    if np.minimum(rounded_up, classes - 1).sum() >= count:
        assert (np.abs(shares - exact) < 1).all()
    else:  # Classes that give more than their share have the most images left.
        left = classes - shares
        assert (left[shares > rounded_up] >= left.max() - 1).all()
    for indices in (rest.indices, others.indices):
        assert (np.diff(indices) > 0).all()  # in their own order
    assert sorted([*rest.indices, *others.indices]) == list(range(total))
    # As many classes as possible have images there: none has a second one in place of another's first.
    if not shares[classes > 1].all():
        assert (shares <= np.maximum(np.floor(exact), 1)).all()


@given(SIZES, st.integers(0, 5), st.integers(1, 200))
def test_a_limit_keeps_the_same_share_of_every_class(sizes: list[int], shuffled: int, limit: int) -> None:
    pictures, names = of_sizes(sizes, shuffled), NAMES[: len(sizes)]
    assume(0 < sum(sizes) // 10 <= sum(sizes) - len(sizes))
    splits = three_splits(pictures, pictures, names, settings(), "here")
    present = np.bincount(splits["train"].labels)
    count = min(limit, present.sum())
    if limit < len(sizes):
        with pytest.raises(TatrError, match=f"raise tasks.t.limit to {len(sizes)} or more"):
            three_splits(pictures, pictures, names, settings(limit=limit), "here")
        return
    few = three_splits(pictures, pictures, names, settings(limit=limit), "here")
    kept = np.bincount(few["train"].labels)
    assert kept.sum() == count
    assert kept.all()
    exact = present * count / present.sum()
    if np.maximum(present * count // present.sum(), 1).sum() <= count:
        assert (np.abs(kept - exact) < 1).all()
    else:  # Only classes whose share is below one keep more than their share, and a larger class never keeps less.
        assert (kept[exact < 1] == 1).all()
        assert (kept < exact + 1).all()
        assert (np.diff(kept[np.lexsort((kept, present))]) >= 0).all()
    assert set(few["train"].indices) <= set(splits["train"].indices)
    np.testing.assert_array_equal(few["validation"].indices, splits["validation"].indices)


@given(SIZES, FRACTIONS, st.integers(0, 5))
def test_the_same_labels_are_always_divided_alike(sizes: list[int], fraction: float, shuffled: int) -> None:
    def divide() -> tuple[list[int], ...]:
        try:
            return tuple(part.indices.tolist() for part in aside(of_sizes(sizes, shuffled), fraction))
        except TatrError:
            return ()

    first = divide()
    np.random.default_rng().random()
    assert divide() == first


def test_these_are_the_images_set_aside() -> None:
    """Splits belong to the data set: another version of this code or of NumPy may not choose others."""
    assert aside(of_sizes([10, 6, 4]), 0.3)[1].indices.tolist() == [2, 4, 6, 11, 13, 19]


def test_labels_may_have_gaps_and_any_order() -> None:
    rest, others = aside(Labelled(np.array([7, 3, 7, 3, 7, 3, 7, 3])), 0.5)
    assert sorted(others.labels) == sorted(rest.labels) == [3, 3, 7, 7]


def test_equal_classes_take_turns_in_no_order() -> None:
    """The image that is over does not always go to the first classes."""
    shares = np.bincount(aside(of_sizes([15] * 20), 0.1)[1].labels)
    assert sorted(set(shares)) == [1, 2]
    assert shares[:10].sum() < 20


def test_validation_is_never_more_than_5000_images() -> None:
    pictures = of_sizes([40_000, 20_000, 20])
    splits = three_splits(pictures, pictures, NAMES[:3], settings(validation_fraction=0.2), "here")
    assert len(splits["validation"]) == MOST_VALIDATION == 5000
    assert np.bincount(splits["validation"].labels).tolist() == [3332, 1666, 2]
    assert len(splits["train"]) == 60_020 - 5000


@pytest.mark.parametrize(
    ("sizes", "fraction", "message"),
    [
        ([15, 15], 0.01, r"^here: 30 images are too few to set 0\.01 of them aside; change tasks\.t\.test_fraction$"),
        ([1], 0.9, r"1 images are too few to set 0\.9 of them aside"),
        (
            [100, 4, 4], 0.99,
            "setting 106 of 108 images aside would leave no training image of class 'class1', which has 4; lower "
            r"tasks\.t\.test_fraction, or add images of that class$",
        ),
        ([1] * 10, 0.3, r"setting 3 of 10 images aside would leave no training image of class 'class0', which has 1;"),
    ],
)  # fmt: skip
def test_what_cannot_be_set_aside_is_one_error(sizes: list[int], fraction: float, message: str) -> None:
    with pytest.raises(TatrError, match=message):
        aside(of_sizes(sizes), fraction)


def test_a_class_of_one_image_stays_in_training(caplog: pytest.LogCaptureFixture) -> None:
    train, test = aside(of_sizes([20, 1, 20]), 0.25)
    assert np.bincount(train.labels).tolist() == [15, 1, 15]
    with caplog.at_level(logging.WARNING):
        splits = three_splits(train, test, NAMES[:3], settings(), "here")
    assert "a class has no test image: class1 (label 1)" in caplog.text
    assert np.bincount(splits["train"].labels).all()


def test_small_classes_come_first_in_the_test_set() -> None:
    shares = np.bincount(aside(of_sizes([97, 97, 3, 3]), 0.1)[1].labels)
    assert shares.tolist() == [9, 9, 1, 1]


@pytest.mark.parametrize(
    ("sizes", "fraction", "shares"),
    [
        ([900] + [1] * 100, 0.1, [100] + [0] * 100),
        ([900] + [1] * 100, 0.02, [20] + [0] * 100),
        ([900] + [1] * 100, 0.8995, [899] + [0] * 100),
        ([60, 100, 58, 2] + [1] * 80, 0.1, [6, 17, 6, 1] + [0] * 80),
        ([40, 40] + [1] * 20, 0.1, [5, 5] + [0] * 20),
        ([100, 4, 4], 0.97, [98, 3, 3]),
    ],
)
def test_large_classes_give_what_classes_of_one_image_cannot(
    sizes: list[int], fraction: float, shares: list[int]
) -> None:
    given = np.bincount(aside(of_sizes(sizes), fraction)[1].labels, minlength=len(sizes))
    assert given.tolist() == shares


@pytest.mark.parametrize(
    ("sizes", "limit", "kept"),
    [
        ([1000, 1, 1, 1], 100, [97, 1, 1, 1]),
        ([5000, 2000, 1000] + [5] * 60, 500, [275, 110, 55] + [1] * 60),
        ([5000, 2000, 1000] + [5] * 60, 63, [1] * 63),
        # Once the classes of one image have kept it, the share of those of 45 is below one, too.
        ([1000, 1000] + [45] * 3 + [1] * 20, 48, [13, 12] + [1] * 23),
        ([100, 10, 3], 3, [1, 1, 1]),
        ([100, 10, 3], 15, [13, 1, 1]),
    ],
)
def test_a_limit_keeps_an_image_of_every_class(sizes: list[int], limit: int, kept: list[int]) -> None:
    pictures = of_sizes(sizes)
    given = settings(validation_fraction=0.02, limit=limit)
    splits = three_splits(pictures, pictures, NAMES[: len(sizes)], given, "here")
    assert np.bincount(splits["train"].labels).tolist() == kept


def test_a_limit_below_the_number_of_classes_is_one_error() -> None:
    pictures = of_sizes([100, 10, 3])
    message = r"^here: 2 training images are too few for 3 classes; raise tasks\.t\.limit to 3 or more$"
    with pytest.raises(TatrError, match=message):
        three_splits(pictures, pictures, NAMES[:3], settings(limit=2), "here")


@pytest.mark.parametrize("limit", [90, 91, 1000])
def test_a_limit_above_the_number_of_images_changes_nothing(limit: int) -> None:
    pictures = of_sizes([50, 50])
    splits = three_splits(pictures, pictures, NAMES[:2], settings(limit=limit), "here")
    assert len(splits["train"]) == 90


CLASSES = ("ant", "bee", "cat")
LABELS = [0] * 11 + [1] * 23 + [2] * 4


def write_folder(root: Path) -> None:
    for split in ("train", "test"):
        for index, label in enumerate(LABELS):
            path = root / split / CLASSES[label] / f"{index:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 2)).save(path)


def write_parquet(root: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, "png")
    columns = {"image": pa.array([buffer.getvalue()] * len(LABELS)), "label": pa.array(LABELS)}
    for split in ("train", "test"):
        pq.write_table(pa.table(columns), root / f"{split}.parquet")


class Named:
    """A data set as torchvision's classes are: by split, with targets."""

    def __init__(self, root: Path, split: str) -> None:
        self.targets, self.classes = LABELS, list(CLASSES)

    def __len__(self) -> int:
        return len(self.targets)


@pytest.mark.parametrize("keys", [{}, {"validation_fraction": 0.25}, {"limit": 8}])
def test_all_sources_set_the_same_images_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any]
) -> None:
    monkeypatch.setattr("torchvision.datasets.Named", Named, raising=False)
    write_folder(tmp_path)
    write_parquet(tmp_path)
    common = (
        {"task": "t", "root": str(tmp_path), "classnames": list(CLASSES)} | settings() | {"source_classnames": None}
    )
    parts = {split: [{"split": split}] for split in ("train", "test")}
    of_source = {
        "folder": folder.load(DEFAULTS["folder"] | common | keys),
        "hub": hub.load(DEFAULTS["hub"] | common | {"dataset": "a/b"} | keys),
        "torchvision": torchvision.load(DEFAULTS["torchvision"] | common | parts | {"dataset": "Named"} | keys),
    }
    expected = three_splits(Labelled(np.array(LABELS)), Labelled(np.array(LABELS)), CLASSES, settings(**keys), "here")
    for source, (splits, _, _) in of_source.items():
        for split in ("train", "validation"):
            np.testing.assert_array_equal(splits[split].indices, expected[split].indices, err_msg=source)
            np.testing.assert_array_equal(splits[split].labels, expected[split].labels, err_msg=source)


def test_folders_and_torchvision_set_the_same_test_images_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path)

    class Undivided:
        """All images, not in the order of their names."""

        def __init__(self, root: Path) -> None:
            self.classes = list(CLASSES)
            paths = sorted((root / "train").rglob("*.png"))[::-1]
            self.samples = [(path, CLASSES.index(path.parent.name)) for path in paths]
            self.targets = [label for _, label in self.samples]

        def __len__(self) -> int:
            return len(self.targets)

    monkeypatch.setattr("torchvision.datasets.Undivided", Undivided, raising=False)
    keys = {"task": "t", "classnames": list(CLASSES), "source_classnames": None, "counts": None, "test_fraction": 0.3}
    of_folder, _, _ = folder.load(DEFAULTS["folder"] | keys | {"root": str(tmp_path / "train")})
    given = DEFAULTS["torchvision"] | keys | {"root": str(tmp_path), "dataset": "Undivided"}
    of_torchvision, _, _ = torchvision.load(given)
    for split, pictures in of_folder.items():
        paths = [pictures.where(index) for index in range(len(pictures))]
        assert paths == [of_torchvision[split].where(index) for index in range(len(of_torchvision[split]))]


def test_the_runs_seed_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[object] = []
    original = np.random.default_rng

    def spy(seed: object = None) -> np.random.Generator:
        seeds.append(seed)
        return original(0)

    monkeypatch.setattr(splits_module.np.random, "default_rng", spy)
    three_splits(of_sizes([20, 20]), of_sizes([2, 2]), NAMES[:2], settings(limit=10), "here")
    assert set(seeds) == {0}
