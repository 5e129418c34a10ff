"""Images in folders, one per class: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* to be divided."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tatr.data.checks import check_counts, check_labels, check_names
from tatr.data.pictures import Found, ImageFiles, Pictures, Selection
from tatr.data.sources.lists import listed_splits
from tatr.errors import TatrError

SUFFIXES = {".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}


def load(settings: Mapping[str, Any], downloaded: Path | None = None) -> Found:
    """Find the images of all splits of a task.

    Folders are classes, in the order in which a person sorts them (2 before 10); `classnames`, if given, names them
    in that order. A class may have no test image, as in small samples of a data set. Folders that are not divided
    into train and test are divided by `lists`, or at random by `test_fraction`. Validation is a seeded share of every
    class of train, at most 5,000 images in all.

    Args:
        settings: those of all sources, `root`, `test_fraction` and `lists`.
        downloaded: nothing.

    Raises:
        TatrError: a folder or a class is missing or empty, or is not as the settings expect it.
    """
    root = Path(settings["root"]).expanduser()
    where = f"tasks.{settings['task']}"
    if not root.is_dir():
        raise TatrError(f"{where}.root: {root} is no folder (seen from {Path.cwd()})")
    divided = (root / "train").is_dir() and (root / "test").is_dir()
    given = [key for key in ("test_fraction", "lists") if settings[key] is not None]
    if given and divided:
        raise TatrError(f"{where}.{given[0]}: {root} has folders 'train' and 'test' already; leave the key out")
    if len(given) == 2:
        raise TatrError(f"{where}: test_fraction and lists both say what the test images are; leave one out")
    if not given and not (root / "train").is_dir():
        raise TatrError(
            f"{root}: has no folder 'train'; set {where}.test_fraction to set some images aside as test, "
            f"or {where}.lists to name files that list the images of train and test"
        )
    folder = root if given else root / "train"
    # A folder that holds the lists is no class.
    others = {Path(file).parts[0] for file in (settings["lists"] or {}).values() if Path(file).parent.parts}
    classes = _classes(folder, others)
    names = check_names(classes, settings, str(folder))
    train, test = _train_and_test(root, classes, settings)
    check_counts({"train": len(train), "test": len(test)}, settings, str(root))
    check_labels(train.labels, test.labels, classes, str(root))
    train, validation = _divide(train, settings["validation_fraction"], 5000, str(folder))
    train = Selection(train.whole, train.indices[: settings["limit"]])
    return {"train": train, "validation": validation, "test": test}, names


def _train_and_test(root: Path, classes: Sequence[str], settings: Mapping[str, Any]) -> tuple[Pictures, Pictures]:
    if settings["lists"] is not None:
        files = _files(root, classes)
        train, test = listed_splits(files.paths, root, settings["lists"])
        return Selection(files, train), Selection(files, test)
    if settings["test_fraction"] is not None:
        return _divide(_files(root, classes), settings["test_fraction"], None, str(root))
    if not (root / "test").is_dir():
        raise TatrError(f"{root / 'test'}: no such folder")
    if extra := sorted(_folders(root / "test") - set(classes)):
        raise TatrError(f"{root / 'test'}: class '{extra[0]}' is not among the training classes")
    return _files(root / "train", classes), _files(root / "test", classes, may_lack=True)


def _classes(folder: Path, others: set[str]) -> list[str]:
    classes = sorted(_folders(folder) - others, key=_by_number)
    if len(classes) < 2:
        raise TatrError(f"{folder}: expected at least two class folders, found {len(classes)}")
    return classes


def _folders(folder: Path) -> set[str]:
    # Not .ipynb_checkpoints, __MACOSX and their like.
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _files(folder: Path, classes: Sequence[str], may_lack: bool = False) -> ImageFiles:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = sorted(path for path in (folder / name).rglob("*") if _is_image(path.relative_to(folder)))
        if not files and not may_lack:
            raise TatrError(f"{folder / name}: holds no image ({', '.join(sorted(SUFFIXES))}); is a class empty?")
        paths += files
        labels += [label] * len(files)
    if not paths:
        raise TatrError(f"{folder}: holds no image of any class")
    return ImageFiles(paths, np.array(labels, np.int64))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _divide(pictures: Pictures, fraction: float, most: int | None, source: str) -> tuple[Selection, Selection]:
    """Divide at random into (the rest, those set aside), at most so many, both shuffled."""
    # Seed 0 whatever the run's seed is: splits belong to the data set.
    random = np.random.default_rng(0)
    order = random.permutation(len(pictures))
    count = min(int(len(pictures) * fraction), most or len(pictures))
    if not 0 < count < len(pictures):
        raise TatrError(f"{source}: {len(pictures)} images are too few to set {fraction:g} of them aside")
    # The same share of every class: an image's rank within its class, from 0 to 1, says who goes first.
    labels = pictures.labels.tolist()
    size, seen = Counter(labels), Counter[int]()
    rank = np.empty(len(pictures))
    for index in order:
        label = labels[index]
        rank[index] = (seen[label] + random.random()) / size[label]
        seen[label] += 1
    aside = np.zeros(len(pictures), bool)
    aside[np.argsort(rank)[:count]] = True
    return Selection(pictures, order[~aside[order]]), Selection(pictures, order[aside[order]])
