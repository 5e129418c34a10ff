"""Images in folders, one per class: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* to be divided."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tatr.data.pictures import ImageFiles, Pictures, Selection, SourceSplits
from tatr.data.split_lists import listed_splits
from tatr.data.splits import judged, set_aside
from tatr.errors import TatrError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""What folders of splits are called."""


def load(settings: Mapping[str, Any], downloaded: Path | None = None) -> SourceSplits:
    """Find the images of all splits of a task.

    Folders are classes, in the order in which a person sorts them (2 before 10). A class
    may have no test image, as in small samples of a data set. Folders that are not divided into train and test are
    divided by `lists`, or at random by `test_fraction`.

    Args:
        settings: those of all sources, `root`, `test_fraction` and `lists`.
        downloaded: nothing.

    Raises:
        TatrError: a folder or a class is missing or empty, or is not as the settings expect it.
    """
    root = Path(settings["root"]).expanduser()
    key = f"tasks.{settings['task']}"
    if not root.is_dir():
        raise TatrError(f"{key}.root: {root} is no folder (seen from {Path.cwd()})")
    has_splits = (root / "train").is_dir() and (root / "test").is_dir()
    given = [name for name in ("test_fraction", "lists") if settings[name] is not None]
    if given and has_splits:
        raise TatrError(f"{key}.{given[0]}: {root} has folders 'train' and 'test' already; leave the key out")
    if len(given) == 2:
        raise TatrError(f"{key}: test_fraction and lists both say what the test images are; leave one out")
    if not given and not (root / "train").is_dir():
        raise TatrError(
            f"{root}: has no folder 'train'{_nested(root, key)}; set {key}.test_fraction to set some images aside as "
            f"test, or {key}.lists to name files that list the images of train and test"
        )
    folder = root if given else root / "train"
    # A folder that holds the lists is no class.
    list_folders = {Path(file).parts[0] for file in (settings["lists"] or {}).values() if Path(file).parent.parts}
    classes = _classes(folder, list_folders, key)
    train, test = _train_and_test(root, classes, settings)
    return judged(train, test, classes, settings, str(root))


def look(settings: Mapping[str, Any]) -> int | None:
    """How many training images `load` finds: it decodes nothing, so that looking is loading."""
    return len(load(settings).splits["train"])


def _train_and_test(root: Path, classes: Sequence[str], settings: Mapping[str, Any]) -> tuple[Pictures, Pictures]:
    if settings["lists"] is not None:
        files = _files(root, classes)
        train, test = listed_splits(files.paths, root, settings["lists"])
        return Selection(files, train), Selection(files, test)
    if settings["test_fraction"] is not None:
        key = f"tasks.{settings['task']}.test_fraction"
        return set_aside(_files(root, classes), settings["test_fraction"], classes, key, str(root))
    if not (root / "test").is_dir():
        raise TatrError(
            f"{root / 'test'}: no such folder, beside 'train' ({root} has {_shown(_folders(root))}); call it so, or "
            f"give the folder of classes as tasks.{settings['task']}.root, with test_fraction"
        )
    if extra := sorted(_folders(root / "test") - set(classes)):
        raise TatrError(f"{root / 'test'}: class '{extra[0]}' is not among the training classes")
    return _files(root / "train", classes), _files(root / "test", classes, may_lack=True)


def _classes(folder: Path, without: set[str], key: str) -> list[str]:
    classes = sorted(_folders(folder) - without, key=_by_number)
    if len(classes) < 2:
        found = f"{len(classes)} ({classes[0]})" if classes else "none"
        raise TatrError(
            f"{folder}: expected at least two class folders, found {found}{_nested(folder, key)}; sort the images into "
            "one folder per class"
        )
    if {name.casefold() for name in classes} <= SPLITS:
        raise TatrError(
            f"{folder}: its folders are called like splits, not like classes ({', '.join(classes)}); a data set that "
            "is divided has folders 'train' and 'test', and test_fraction divides a folder of classes"
        )
    return classes


def _nested(folder: Path, key: str) -> str:
    """What to say of a folder that may hold the right one, as archives do when they are unpacked."""
    inner = next((folder / name for name in sorted(_folders(folder)) if len(_folders(folder / name)) > 1), None)
    return f" (did you mean {key}.root: {inner}, which has folders {_shown(_folders(inner))}?)" if inner else ""


def _shown(names: set[str]) -> str:
    return ", ".join(sorted(names, key=_by_number)[:4]) + (", …" if len(names) > 4 else "")


def _folders(folder: Path) -> set[str]:
    # Not .ipynb_checkpoints, __MACOSX and their like.
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _files(folder: Path, classes: Sequence[str], may_lack: bool = False) -> ImageFiles:
    paths: list[str] = []
    labels: list[int] = []
    empty: list[str] = []
    for label, name in enumerate(classes):
        # A class may have no folder in test.
        found = _images(folder / name) if (folder / name).is_dir() else ()
        files = ["/".join([str(folder), name, *parts]) for parts in sorted(found)]
        empty += [] if files else [name]
        paths += files
        labels += [label] * len(files)
    if not paths:
        raise TatrError(f"{folder}: holds no image of any class ({', '.join(SUFFIXES)})")
    if empty and not may_lack:
        others = f" (nor do {len(empty) - 1} other classes, such as '{empty[1]}')" if len(empty) > 1 else ""
        raise TatrError(f"{folder / empty[0]}: holds no image ({', '.join(SUFFIXES)}){others}; is a class empty?")
    return ImageFiles(paths, np.array(labels, np.int64))


def _images(folder: Path) -> Iterator[tuple[str, ...]]:
    """The images in a folder and its subfolders, hidden ones left out: the parts of their paths below it."""
    # Not `Path.rglob`, which takes five times as long: before each run, whole data sets are listed.
    for parent, folders, names in os.walk(folder, onerror=_stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        parts = Path(parent).relative_to(folder).parts
        for name in names:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield (*parts, name)


def _stop(error: OSError) -> None:
    raise TatrError(f"{error.filename}: can't be listed ({error.strerror}); make it readable") from error
