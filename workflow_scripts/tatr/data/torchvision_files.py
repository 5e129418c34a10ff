"""What torchvision's data sets hold, listed from their files without torchvision: in a moment, and without torch.

One function per class of `torchvision.datasets`, with its arguments. Other classes are opened by torchvision.
"""

import csv
import gzip
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tatr.data.class_folders import (
    FoundImages,
    entries,
    find_images,
    images_in_hidden,
    is_folder,
    is_no_class,
    note_outside,
)

DIGITS = [
    *("0 - zero", "1 - one", "2 - two", "3 - three", "4 - four"),
    *("5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine"),
]
IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

MOST_LABELS = 2**24
"""Bytes that a packed file of labels may have."""


@dataclass(frozen=True)
class Listing:
    """A data set, or a part of one, before any image is read."""

    labels: np.ndarray
    """int64 [n]."""
    classes: list[str]
    """In label order."""
    paths: list[str] | None = None
    """Of the images, if they have files of their own."""
    named: bool = False
    """Whether a list or a table names the paths: they were not found in folders."""
    unused: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Paths of what lies in the folders of classes and is not used, by reason."""


def dtd(root: Path, split: str = "train", partition: int = 1) -> Listing:
    """Textures: lists of CLASS/FILE; the classes are those of the list."""
    _one_of("split", split, ("train", "val", "test"))
    lines = (root / f"dtd/dtd/labels/{split}{partition}.txt").read_text(encoding="utf-8").split()
    return replace(_by_class([(line.split("/")[0], f"{root}/dtd/dtd/images/{line}") for line in lines]), named=True)


def eurosat(root: Path) -> Listing:
    """A folder per class."""
    return _class_folders(root / "eurosat/2750", IMAGES)


def gtsrb(root: Path, split: str = "train") -> Listing:
    """Traffic signs: a folder per class for training, a table for testing."""
    _one_of("split", split, ("train", "test"))
    base = root / "gtsrb"
    train = _class_folders(base / "GTSRB/Training", (".ppm",))
    if split == "train":
        tables = {*map(str, base.glob("GTSRB/Training/*/GT-*.csv"))}  # of the signs' places in the images
        return replace(train, unused={why: sorted({*paths} - tables) for why, paths in train.unused.items()})
    with (base / "GT-final_test.csv").open(encoding="utf-8") as file:
        rows = [*csv.DictReader(file, delimiter=";", skipinitialspace=True)]
    paths = [f"{base}/GTSRB/Final_Test/Images/{row['Filename']}" for row in rows]
    return Listing(_int64(int(row["ClassId"]) for row in rows), train.classes, paths, named=True)


def stanford_cars(root: Path, split: str = "train") -> Listing:
    """MATLAB tables of file names and classes, which they count from 1."""
    from scipy.io import loadmat

    _one_of("split", split, ("train", "test"))
    base = root / "stanford_cars"
    table = base / ("devkit/cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat")
    rows = loadmat(table, squeeze_me=True)["annotations"]
    classes = loadmat(base / "devkit/cars_meta.mat", squeeze_me=True)["class_names"]
    paths = [f"{base}/cars_{split}/{name}" for name in rows["fname"]]
    return Listing(_int64(rows["class"]) - 1, [str(name) for name in classes], paths, named=True)


def sun397(root: Path) -> Listing:
    """Folders by first letter and class, some of them nested; a file lists the classes."""
    base = root / "SUN397"
    classes = [line[3:].strip() for line in (base / "ClassName.txt").read_text(encoding="utf-8").splitlines()]
    label_of = {name: label for label, name in enumerate(classes)}
    paths, labels, found = list[str](), list[int](), FoundImages([])
    for parent, folders, names in os.walk(base):
        strange = [name for name in folders if is_no_class(name)]
        folders[:] = [name for name in folders if name not in strange]
        for name in strange:
            found.note("hidden", *images_in_hidden(f"{parent}/{name}", (".jpg",)))
        images = [name for name in names if name.startswith("sun_") and name.endswith(".jpg")]
        if images:
            labels += [label_of["/".join(Path(parent).relative_to(base).parts[1:])]] * len(images)
            paths += [f"{parent}/{name}" for name in images]
    return Listing(_int64(labels), classes, paths, unused=found.unused)


def mnist(root: Path, train: bool = True) -> Listing:
    """Digits: one file of labels, perhaps packed, in MNIST/raw or in the root itself."""
    name = f"{'train' if train else 't10k'}-labels-idx1-ubyte"
    raw = root / "MNIST/raw"
    if (raw / name).is_file():
        data = (raw / name).read_bytes()
    else:
        packed = raw / f"{name}.gz" if (raw / f"{name}.gz").is_file() else root / f"{name}.gz"
        with gzip.open(packed) as file:
            data = file.read(MOST_LABELS)
    if data[:4] != bytes([0, 0, 8, 1]) or int.from_bytes(data[4:8], "big") != len(data) - 8:
        raise ValueError(f"{name} is no file of labels, or not all of one")
    return Listing(np.frombuffer(data, np.uint8, offset=8).astype(np.int64), DIGITS)


def svhn(root: Path, split: str = "train") -> Listing:
    """House numbers: one MATLAB file, in which the digit 0 is the class 10."""
    from scipy.io import loadmat

    _one_of("split", split, ("train", "test", "extra"))
    labels = loadmat(root / f"{split}_32x32.mat", variable_names=["y"])["y"].astype(np.int64).reshape(-1)
    return Listing(np.where(labels == 10, 0, labels), [str(digit) for digit in range(10)])


LISTINGS: dict[str, Callable[..., Listing]] = {
    "DTD": dtd,
    "EuroSAT": eurosat,
    "GTSRB": gtsrb,
    "MNIST": mnist,
    "SUN397": sun397,
    "SVHN": svhn,
    "StanfordCars": stanford_cars,
}
"""By the name of torchvision's class."""


def _class_folders(folder: Path, suffixes: tuple[str, ...]) -> Listing:
    """All images of a folder of classes, as torchvision's `make_dataset` lists them; but no class is hidden."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    names = sorted(entry.name for entry in entries(folder) if is_folder(entry) and not is_no_class(entry.name))
    found = find_images([folder / name for name in names], suffixes)
    for name, images in zip(names, found.images, strict=True):
        if not images:
            raise FileNotFoundError(f"no image of class {name} in {folder / name}{found.instead(folder / name)}")
    note_outside(found, folder, suffixes)
    pairs = [(name, path) for name, images in zip(names, found.images, strict=True) for path in images]
    return replace(_by_class(pairs), unused=found.unused)


def _by_class(images: Sequence[tuple[str, str]]) -> Listing:
    classes = sorted({name for name, _ in images})
    label_of = {name: label for label, name in enumerate(classes)}
    return Listing(_int64(label_of[name] for name, _ in images), classes, [path for _, path in images])


def _int64(values: Iterable[int]) -> np.ndarray:
    return np.array([*values], np.int64)


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{key} {value!r} is unknown, expected {', '.join(allowed)}")
