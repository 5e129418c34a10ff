"""All layouts are read: generated ones, and real ones where the variable TATR_TEST_NATIVE names a folder of them."""

import importlib
import os
from pathlib import Path
from typing import Any

import native_files
import numpy as np
import pytest
from native_files import DEFAULTS, DIGITS, NATIVE, WORDS

from tatr.data.pictures import SourceSplits
from tatr.errors import TatrError

PER_CLASS = 6


def load(settings: dict[str, Any]) -> SourceSplits:
    return importlib.import_module(f"tatr.data.sources.{settings['source']}").load(settings)


@pytest.mark.parametrize("name", NATIVE)
def test_generated(name: str, tmp_path: Path) -> None:
    native = NATIVE[name]
    native.write(tmp_path, native.classes, PER_CLASS)
    settings = native_files.settings(name, tmp_path, per_class=PER_CLASS)
    splits, names, _ = load(settings)
    assert names and len(names) == len(native.classes)  # which and in which order, `load` compared
    total = len(native.classes) * PER_CLASS * native.parts
    assert [len(splits[split]) for split in ("train", "validation", "test")] == [
        total - total // 10, total // 10, len(native.classes) * PER_CLASS,
    ]  # fmt: skip
    assert np.bincount(splits["test"].labels).tolist() == [PER_CLASS] * len(native.classes)
    # Every image shows its own label: the colour that belongs to the class, wherever the pixels went.
    for split in splits.values():
        for index, label in enumerate(split.labels):
            assert nearest(np.asarray(split.decode(index)), len(native.classes)) == label


def nearest(image: np.ndarray, classes: int) -> int:
    """The class whose stripes an image has, by the spread of its colours (or of grey)."""
    size = image.shape[:2]
    if size == (28, 28):
        made = [native_files.pixels(label, 0)[2:30, 2:30].mean(2) for label in range(classes)]
    else:
        made = [native_files.pixels(label, 0, size).astype(float) for label in range(classes)]
    return int(np.argmin([np.abs(image - pattern).mean() for pattern in made]))


def test_generated_files_are_the_same_every_time(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        NATIVE["dtd"].write(tmp_path / folder, ("x", "y"), 2)
    files = [sorted(p for p in (tmp_path / folder).rglob("*") if p.is_file()) for folder in ("a", "b")]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


SPLIT = {"train": [{"split": "train"}], "test": [{"split": "test"}]}
PARTITIONS = {"train": "Partitions/Training_01.txt", "test": "Partitions/Testing_01.txt"}
REAL: dict[str, tuple[dict[str, Any], tuple[int, int], int]] = {
    "mnist": (
        {"dataset": "MNIST", "root": "mnist", "train": [{"train": True}], "test": [{"train": False}],
         "source_classnames": [f"{digit} - {word}" for digit, word in zip(DIGITS, WORDS, strict=True)]},
        (10000, 10000), 10,
    ),
    "gtsrb": (
        {"dataset": "GTSRB", "root": ".", **SPLIT, "source_classnames": [str(i) for i in range(43)]},
        (1290, 600), 43,
    ),
    "dtd": (
        {"dataset": "DTD", "root": ".", "train": [{"split": "train"}, {"split": "val"}], "test": [{"split": "test"}]},
        (80, 40), 10,
    ),
    "stanford_cars": ({"dataset": "StanfordCars", "root": ".", **SPLIT}, (784, 392), 196),
    "sun397": ({"dataset": "SUN397", "root": "sun397", "lists": PARTITIONS}, (192, 192), 8),
    "svhn": ({"dataset": "SVHN", "root": "_layout_mimic/svhn", **SPLIT}, (712, 173), 10),
    "eurosat": ({"dataset": "EuroSAT", "root": "_layout_mimic", "test_fraction": 0.1}, (216, 24), 6),
    "resisc45": (
        {"source": "folder", "root": "_layout_mimic/resisc45/NWPU-RESISC45",
         "lists": {"train": "../resisc45-train.txt", "test": "../resisc45-test.txt"}},
        (168, 56), 7,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real(name: str) -> None:
    folder = os.environ.get("TATR_TEST_NATIVE")
    if not folder:
        pytest.skip("set TATR_TEST_NATIVE to a folder of real files")
    keys, (train, test), classes = REAL[name]
    source = keys.get("source", "torchvision")
    common = {"task": name, "source_classnames": None, "counts": {"train": train, "test": test}}
    settings = DEFAULTS[source] | common | keys | {"root": str(Path(folder) / keys["root"])}
    splits, names, _ = load(settings)
    assert len(names) == classes
    assert len(splits["train"]) + len(splits["validation"]) == train
    for split in splits.values():
        for index in range(0, len(split), max(1, len(split) // 20)):
            assert min(split.decode(index).size) > 0
    with pytest.raises(TatrError, match="expected 1"):
        load(settings | {"counts": {"train": 1, "test": test}})
