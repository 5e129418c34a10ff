"""Small data sets in exactly the layouts in which their makers distribute them, with generated images.

`NATIVE[name].write(folder, classes, per_class)` writes one, and `NATIVE[name].task(folder, classes, per_class)` are
the keys of `tasks.NAME` in a configuration that reads it. Train and test have `per_class` images of every
class each; train is twice as large where it has two parts.
"""

import gzip
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib.recfunctions import repack_fields
from PIL import Image
from scipy.io import savemat

DIGITS = tuple(str(digit) for digit in range(10))
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def pixels(label: int, number: int, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """uint8 [H, W, 3]: stripes whose direction and colour belong to the class, under noise of the image's own."""
    rng, (height, width) = np.random.default_rng([label, number]), size
    y, x = np.mgrid[:height, :width]
    stripes = np.sin((x * np.cos(label) + y * np.sin(label)) * 6 / height)[..., None]
    colour = np.random.default_rng(label).uniform(40, 120, 3)
    return np.clip(128 + stripes * colour + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


def save(path: Path, label: int, number: int, size: tuple[int, int] = (32, 32)) -> None:
    """Save an image in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(label, number, size)).save(path)


def lines(path: Path, text: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in text), encoding="utf-8")


def stacked(classes: Sequence[str], per_class: int, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 32, 32, 3] and labels [n], the classes by turns."""
    pairs = [(label, first + i) for i in range(per_class) for label in range(len(classes))]
    return np.stack([pixels(*pair) for pair in pairs]), np.array([label for label, _ in pairs], np.uint8)


def write_mnist(root: Path, classes: Sequence[str], per_class: int) -> None:
    """Four idx files, packed: big-endian sizes, then bytes."""
    root.mkdir(parents=True, exist_ok=True)
    for name, first in (("train", 0), ("t10k", per_class)):
        images, labels = stacked(classes, per_class, first)
        grey = images[:, 2:30, 2:30].mean(3).astype(np.uint8)
        for kind, values in (("images-idx3", grey), ("labels-idx1", labels)):
            head = np.array([0x800 + values.ndim, *values.shape], ">i4").tobytes()
            with gzip.open(root / f"{name}-{kind}-ubyte.gz", "wb") as file:
                file.write(head + values.tobytes())


def write_svhn(root: Path, classes: Sequence[str], per_class: int) -> None:
    """MATLAB files with images last and the digit 0 as 10."""
    root.mkdir(parents=True, exist_ok=True)
    for name, first in (("train", 0), ("test", per_class)):
        images, labels = stacked(classes, per_class, first)
        y = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(root / f"{name}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": y})


def write_gtsrb(root: Path, classes: Sequence[str], per_class: int) -> None:
    """One folder of tracks per class for training, one folder and a table for testing."""
    base, head = root / "gtsrb", "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2"
    test: list[str] = []
    for label in range(len(classes)):
        rows = []
        for i in range(per_class):
            save(base / f"GTSRB/Training/{label:05d}/{i // 30:05d}_{i % 30:05d}.ppm", label, i)
            rows.append(f"{i // 30:05d}_{i % 30:05d}.ppm;32;32;2;2;30;30;{label}")
            save(base / f"GTSRB/Final_Test/Images/{len(test):05d}.ppm", label, per_class + i)
            test.append(f"{len(test):05d}.ppm;32;32;2;2;30;30;{label}")
        lines(base / f"GTSRB/Training/{label:05d}/GT-{label:05d}.csv", [f"{head};ClassId", *rows])
    lines(base / "GT-final_test.csv", [f"{head};ClassId", *test])
    lines(base / "GTSRB/Final_Test/Images/GT-final_test.test.csv", [head, *(row.rsplit(";", 1)[0] for row in test)])


def write_dtd(root: Path, classes: Sequence[str], per_class: int) -> None:
    """All images by class, and lists of three splits."""
    for part, split in enumerate(("train", "val", "test")):
        names = []
        for label, name in enumerate(classes):
            for i in range(part * per_class, (part + 1) * per_class):
                names.append(f"{name}/{name}_{i:04d}.jpg")
                save(root / "dtd/dtd/images" / names[-1], label, i, (40, 48))
        lines(root / f"dtd/dtd/labels/{split}1.txt", names)


def write_stanford_cars(root: Path, classes: Sequence[str], per_class: int) -> None:
    """Two folders of numbered images, and MATLAB tables of their boxes and classes."""
    base = root / "stanford_cars"
    kind = np.dtype([(name, "O") for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")])
    (base / "devkit").mkdir(parents=True, exist_ok=True)
    names = np.array([*classes, None], object)[:-1]
    savemat(base / "devkit/cars_meta.mat", {"class_names": names[None]})
    for split, first in (("train", 0), ("test", per_class)):
        rows = []
        for i in range(per_class):
            for label in range(len(classes)):
                rows.append((1, 1, 40, 30, label + 1, f"{len(rows) + 1:05d}.jpg"))
                save(base / f"cars_{split}" / rows[-1][-1], label, first + i, (30, 40))
        table = np.array(rows, kind)[None]
        devkit = (
            table if split == "train" else repack_fields(table[[name for name in kind.names or () if name != "class"]])
        )
        savemat(base / f"devkit/cars_{split}_annos.mat", {"annotations": devkit})
        if split == "test":
            savemat(base / "cars_test_annos_withlabels.mat", {"annotations": table})


def write_sun397(root: Path, classes: Sequence[str], per_class: int) -> None:
    """Folders by first letter and class (some nested), and lists of the first partition."""
    folders = [f"/{name[0]}/{name}" for name in classes]
    lines(root / "SUN397/ClassName.txt", folders)
    lines(root / "Partitions/ClassName.txt", folders)
    for split, first in (("Training", 0), ("Testing", per_class)):
        names = [f"{folder}/sun_{label:04d}{first + i:04d}.jpg" for label, folder in enumerate(folders)
                 for i in range(per_class)]  # fmt: skip
        for number, name in enumerate(names):
            label, i = divmod(number, per_class)
            save(root / f"SUN397{name}", label, first + i, (36, 48))
        lines(root / f"Partitions/{split}_01.txt", names)


def write_eurosat(root: Path, classes: Sequence[str], per_class: int) -> None:
    """One folder per class, without splits."""
    for label, name in enumerate(classes):
        for i in range(2 * per_class):
            save(root / f"eurosat/2750/{name}/{name}_{i + 1}.jpg", label, i, (64, 64))


def write_resisc45(root: Path, classes: Sequence[str], per_class: int) -> None:
    """One folder per class, and lists of file names beside them."""
    for split, first in (("train", 0), ("test", per_class)):
        names = []
        for label, name in enumerate(classes):
            for i in range(first, first + per_class):
                names.append(f"{name}_{i + 1:03d}.jpg")
                save(root / "NWPU-RESISC45" / name / names[-1], label, i, (64, 64))
        lines(root / f"resisc45-{split}.txt", names)


def write_hub(root: Path, classes: Sequence[str], per_class: int) -> None:
    """Parquet files with the schema that the `datasets` library writes beside them; train in two of them."""
    names = {"names": list(classes), "_type": "ClassLabel"}
    info = {"info": {"features": {"image": {"_type": "Image"}, "label": names}}}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64())], {"huggingface": json.dumps(info)})
    (root / "data").mkdir(parents=True, exist_ok=True)
    pairs = [(label, i) for i in range(2 * per_class) for label in range(len(classes))]
    train, test = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
    half = len(train) // 2
    for name, part in (("train-00000-of-00002", train[:half]), ("train-00001-of-00002", train[half:]),
                       ("test-00000-of-00001", test)):  # fmt: skip
        rows = [{"image": {"bytes": png(*pair), "path": f"{pair}.png"}, "label": pair[0]} for pair in part]
        pq.write_table(pa.Table.from_pylist(rows, schema), root / f"data/{name}.parquet", row_group_size=7)


def png(label: int, number: int) -> bytes:
    """An image as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(label, number)).save(buffer, "png")
    return buffer.getvalue()


@dataclass(frozen=True)
class Native:
    """A layout: what writes it, and what reads it."""

    write: Callable[[Path, Sequence[str], int], None]
    classes: Sequence[str]
    """A few of the data set's own names of its classes, in label order."""
    keys: dict[str, Any]
    """Of `tasks.NAME`, beside those that `task` adds."""
    folder: str = "."
    """Root of the task, relative to where the files were written."""
    parts: int = 1
    """Of train."""
    source_classnames: dict[str, str] = field(default_factory=dict)
    """What the source calls a class, where it has another name there."""

    def task(self, root: Path, classes: Sequence[str] | None = None, per_class: int = 6) -> dict[str, Any]:
        """Keys of `tasks.NAME` in a configuration."""
        names = list(classes or self.classes)
        keys: dict[str, Any] = {
            "root": str(root / self.folder),
            "classnames": [name.replace("_", " ").replace("/", " ") for name in names],
            "source_classnames": [self.source_classnames.get(name, name) for name in names],
            "counts": {"train": len(names) * per_class * self.parts, "test": len(names) * per_class},
        }
        return keys | self.keys


def _torchvision(dataset: str, train: Any = (), test: Any = (), **others: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"source": "torchvision", "dataset": dataset, "train": [*train], "test": [*test]} | others


_TRAIN, _TEST = {"split": "train"}, {"split": "test"}
_LISTS = {"train": "Partitions/Training_01.txt", "test": "Partitions/Testing_01.txt"}

NATIVE = {
    "mnist": Native(
        write_mnist,
        DIGITS,
        _torchvision("MNIST", [{"train": True}], [{"train": False}]),
        source_classnames={digit: f"{digit} - {word}" for digit, word in zip(DIGITS, WORDS, strict=True)},
    ),
    "svhn": Native(write_svhn, DIGITS, _torchvision("SVHN", [_TRAIN], [_TEST])),
    "gtsrb": Native(write_gtsrb, DIGITS[:4], _torchvision("GTSRB", [_TRAIN], [_TEST])),
    "dtd": Native(
        write_dtd,
        ("banded", "dotted", "polka-dotted"),
        _torchvision("DTD", [_TRAIN, {"split": "val"}], [_TEST]),
        parts=2,
    ),
    "stanford_cars": Native(
        write_stanford_cars,
        ("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "smart fortwo 2012"),
        _torchvision("StanfordCars", [_TRAIN], [_TEST]),
    ),
    "sun397": Native(
        write_sun397,
        ("abbey", "bamboo_forest", "desert/sand", "desert/vegetation"),
        _torchvision("SUN397", lists=_LISTS),
    ),
    "eurosat": Native(write_eurosat, ("AnnualCrop", "Forest", "SeaLake"), _torchvision("EuroSAT", test_fraction=0.5)),
    "resisc45": Native(
        write_resisc45,
        ("airplane", "dense_residential", "lake"),
        {"source": "folder", "lists": {"train": "../resisc45-train.txt", "test": "../resisc45-test.txt"}},
        folder="NWPU-RESISC45",
    ),
    "hub": Native(write_hub, ("happy", "sad", "neutral"), {"source": "hub", "dataset": "some/faces"}),
}
"""Layouts by the task that they are usual for; "hub" stands for any."""

DEFAULTS: dict[str, dict[str, Any]] = {
    source: {"source": source, "validation_fraction": 0.1, "limit": None, "size": 32, "resize": "shortest"} | others
    for source, others in {
        "folder": {"unreadable": "stop", "test_fraction": None, "lists": None},
        "torchvision": {"unreadable": "stop", "test_fraction": None, "lists": None, "train": [], "test": []},
        "hub": {
            "unreadable": "stop",
            "config": None,
            "revision": None,
            "train": "train",
            "test": "test",
            "image_column": "image",
            "label_column": "label",
        },
    }.items()
}
"""What a configuration would fill in, for tests that call a source itself."""


def settings(name: str, root: Path, classes: Sequence[str] | None = None, per_class: int = 6) -> dict[str, Any]:
    """Settings of a source's `load` for a layout written to `root`."""
    task = NATIVE[name].task(root, classes, per_class)
    return DEFAULTS[task["source"]] | task | {"task": name}
