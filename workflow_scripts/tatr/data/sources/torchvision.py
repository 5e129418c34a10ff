"""Images of torchvision's own data set classes, in a folder that already holds them; nothing is ever downloaded."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tatr.data.checks import check_names, three_splits
from tatr.data.pictures import Found, ImageFiles, Pictures, Selection
from tatr.data.sources.lists import listed_splits
from tatr.data.sources.torchvision_layouts import class_names, expected, first_label, open_dataset
from tatr.errors import TatrError


@dataclass(frozen=True)
class Rows:
    """Images that torchvision keeps in memory, or in one file."""

    dataset: Any
    labels: np.ndarray
    """int64 [n]."""
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, index: int) -> Image.Image:
        """One image."""
        return self.dataset[index][0]

    def where(self, index: int) -> str:
        """The source and a row."""
        return f"{self.source}, image {index}"


@dataclass(frozen=True)
class Parts:
    """The parts of a split, one after the other."""

    parts: Sequence[Pictures]

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels int64 [n]."""
        return np.concatenate([part.labels for part in self.parts])

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0] + [len(part) for part in self.parts])

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, index: int) -> Image.Image:
        """One image."""
        part, at = self._find(index)
        return part.decode(at)

    def where(self, index: int) -> str:
        """Which one it is."""
        part, at = self._find(index)
        return part.where(at)

    def _find(self, index: int) -> tuple[Pictures, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.parts[number], index - int(self._starts[number])


def load(settings: Mapping[str, Any], downloaded: Path | None = None) -> Found:
    """Find all splits of a task; nothing is decoded.

    Args:
        settings: `dataset` (a class of `torchvision.datasets`) and `root`, the folder that this class takes; `train`
            and `test`, lists of keyword arguments, one set of them per part; or, for a class without splits, `lists`
            or `test_fraction` (a share of every class). And those common to all sources.
        downloaded: not used.

    Returns:
        The splits "train", "validation" and "test", and the class names in label order.

    Raises:
        TatrError: files are missing, or are not what the settings expect.
    """
    root, name, key = Path(settings["root"]).expanduser(), settings["dataset"], f"tasks.{settings['task']}"
    source = f"{root} ({name})"
    kind = getattr(importlib.import_module("torchvision.datasets"), name, None)
    if not isinstance(kind, type):
        raise TatrError(f"{key}.dataset: torchvision.datasets has no '{name}'")
    if not root.is_dir():
        raise TatrError(f"{key}.root: {root} is no folder (seen from {Path.cwd()}); {expected(name)}")
    divided = bool(settings["lists"]) or settings["test_fraction"] is not None
    options = {split: settings[split] or [{}] for split in ("train", "test")}
    if not divided and options["train"] == options["test"]:
        raise TatrError(
            f"{key}: train and test are the same part of {name}; give each its arguments, or, if {name} has no splits, "
            f"give lists or test_fraction"
        )
    opened = {
        split: [open_dataset(kind, root, part, key) for part in options[split]]
        for split in (["train"] if divided else ["train", "test"])
    }
    names = _same_classes([dataset for parts in opened.values() for dataset in parts], source)
    parts = {split: Parts([_pictures(d, source) for d in datasets]) for split, datasets in opened.items()}
    train, test = _divided(parts["train"], settings, root) if divided else (parts["train"], parts["test"])
    return three_splits(train, test, check_names(names, settings, source), settings, source)


def _same_classes(datasets: Sequence[Any], source: str) -> list[str] | None:
    names = [class_names(dataset) for dataset in datasets]
    for other in names[1:]:
        if other != names[0]:
            only = sorted(set(names[0] or ()) ^ set(other or ()))
            raise TatrError(
                f"{source}: its parts have different classes ({', '.join(only[:4])}), so their labels differ in "
                "meaning; every part must have images of every class"
            )
    return names[0]


def _pictures(dataset: Any, source: str) -> Pictures:  # noqa: ANN401
    labels = np.asarray(_labels(dataset, source), np.int64).reshape(-1) - first_label(dataset)
    if (paths := _paths(dataset)) is None:
        return Rows(dataset, labels, source)
    if paths and not paths[0].is_file():
        raise TatrError(f"{paths[0]}: missing; {expected(type(dataset).__name__)}")
    return ImageFiles(paths, labels)


def _labels(dataset: Any, source: str) -> Any:  # noqa: ANN401
    for attribute in ("targets", "labels", "_labels"):
        if (labels := getattr(dataset, attribute, None)) is not None:
            return labels
    if samples := getattr(dataset, "_samples", None):
        if any(label is None for _, label in samples):
            raise TatrError(f"{source}: has images without labels; {expected(type(dataset).__name__)}")
        return [label for _, label in samples]
    if hasattr(dataset, "h5py"):  # PCAM, which gives a label only together with its image
        file, *_ = dataset._FILES[dataset._split]["targets"]
        with dataset.h5py.File(dataset._base_folder / file) as targets:
            return targets["y"][:]
    raise TatrError(f"{source}: its labels can't be read without decoding its images; this class is not supported")


def _paths(dataset: Any) -> list[Path] | None:  # noqa: ANN401
    for attribute in ("_image_files", "_images"):
        if files := getattr(dataset, attribute, None):
            return [Path(file) for file in files]
    for attribute in ("samples", "_samples"):
        samples = getattr(dataset, attribute, None)
        if samples and isinstance(samples[0][0], str | Path):
            return [Path(file) for file, _ in samples]
    return None


def _divided(pictures: Parts, settings: Mapping[str, Any], root: Path) -> tuple[Selection, Selection]:
    paths = [Path(pictures.where(index)) for index in range(len(pictures))]
    if settings["lists"]:
        train, test = listed_splits(paths, root, settings["lists"])
    else:
        # torchvision lists some sets in the order of the file system, which differs between machines.
        order = np.array(sorted(range(len(paths)), key=lambda i: paths[i].parts), np.int64)
        train, test = _shares(order, pictures.labels[order], settings["test_fraction"])
    return Selection(pictures, train), Selection(pictures, test)


def _shares(indices: np.ndarray, labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    # Seed 0 whatever the run's seed is: splits belong to the data set.
    random, test = np.random.default_rng(0), np.zeros(len(indices), bool)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        test[members[: round(len(members) * fraction)]] = True
    return indices[~test], indices[test]
