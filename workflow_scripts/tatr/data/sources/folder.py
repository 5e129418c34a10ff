"""Images in folders, one per class: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* to be divided."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tatr.data.checks import check_source_names
from tatr.data.pictures import ImageFiles, Pictures, Selection, SourceSplits
from tatr.data.split_lists import listed_splits
from tatr.data.splits import set_aside, three_splits
from tatr.errors import TatrError

SUFFIXES = {".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}


def load(settings: Mapping[str, Any], downloaded: Path | None = None) -> SourceSplits:
    """Find the images of all splits of a task.

    Folders are classes, in the order in which a person sorts them (2 before 10). A class may have no test image, as in small samples of a data set. Folders that are not divided
    into train and test are divided by `lists`, or at random by `test_fraction`.

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
            f"{root}: has no folder 'train'; set {key}.test_fraction to set some images aside as test, "
            f"or {key}.lists to name files that list the images of train and test"
        )
    folder = root if given else root / "train"
    # A folder that holds the lists is no class.
    list_folders = {Path(file).parts[0] for file in (settings["lists"] or {}).values() if Path(file).parent.parts}
    classes = _classes(folder, list_folders)
    check_source_names(classes, settings, str(folder))
    train, test = _train_and_test(root, classes, settings)
    return SourceSplits(three_splits(train, test, classes, settings, str(root)), classes)


def _train_and_test(root: Path, classes: Sequence[str], settings: Mapping[str, Any]) -> tuple[Pictures, Pictures]:
    if settings["lists"] is not None:
        files = _files(root, classes)
        train, test = listed_splits(files.paths, root, settings["lists"])
        return Selection(files, train), Selection(files, test)
    if settings["test_fraction"] is not None:
        key = f"tasks.{settings['task']}.test_fraction"
        return set_aside(_files(root, classes), settings["test_fraction"], classes, key, str(root))
    if not (root / "test").is_dir():
        raise TatrError(f"{root / 'test'}: no such folder")
    if extra := sorted(_folders(root / "test") - set(classes)):
        raise TatrError(f"{root / 'test'}: class '{extra[0]}' is not among the training classes")
    return _files(root / "train", classes), _files(root / "test", classes, may_lack=True)


def _classes(folder: Path, without: set[str]) -> list[str]:
    classes = sorted(_folders(folder) - without, key=_by_number)
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
