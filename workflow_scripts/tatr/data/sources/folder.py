"""Images in folders, one per class: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* to be divided."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tatr.data.checks import root_folder
from tatr.data.class_folders import (
    FoundImages,
    entries,
    find_images,
    is_dead_link,
    is_folder,
    is_image,
    is_no_class,
    note_outside,
    refuse_unused,
    tell_unused,
)
from tatr.data.class_order import in_order
from tatr.data.path_text import text_of
from tatr.data.pictures import ImageFiles, Pictures, Selection, SourceSplits, endings
from tatr.data.split_lists import listed_splits, unlisted
from tatr.data.splits import judged, set_aside
from tatr.errors import TatrError

SPLITS = {
    *("train", "training", "trainset", "test", "testing", "testset", "val", "valid", "validation", "valset", "dev"),
    *("eval", "evaluation"),
}
"""What folders of splits are called, in lower case."""

KINDS = ".png, .jpg and what else Pillow reads"

logger = logging.getLogger("tatr")


def load(settings: Mapping[str, Any], downloaded: Path | None = None) -> SourceSplits:
    """Find the images of all splits of a task.

    Folders are classes, in the order in which a person sorts them (2 before 10). A class
    may have no test image, as in small samples of a data set. Folders that are not divided into train and test are
    divided by `lists`, or at random by `test_fraction`.

    Args:
        settings: those of all sources, `root`, `test_fraction` and `lists`.
        downloaded: nothing.

    Raises:
        TatrError: a folder or a class is missing or empty, or is not as the settings expect it; or more than a few
            things in them would not be used.
    """
    root, key = root_folder(settings), f"tasks.{settings['task']}"
    given = [name for name in ("test_fraction", "lists") if settings[name] is not None]
    if len(given) == 2:
        raise TatrError(f"{key}: test_fraction and lists both say what the test images are; leave one out")
    if given:
        _refuse_splits(root, given[0], key)
        # A folder that holds the lists is no class, unless it holds images, too.
        above = {Path(file).parts[0] for file in (settings["lists"] or {}).values() if Path(file).parent.parts}
        without = {name for name in above & _folders(root) if not _holds_images(root / name)}
        classes = _classes(root, without, key)
        found = _found(root, [root], classes, key)
        train, test = _divided(found, classes, root, settings)
    else:
        _expect_splits(root, key)
        classes = _classes(root / "train", set(), key)
        if extra := sorted(_folders(root / "test") - set(classes)):
            raise TatrError(f"{root / 'test'}: class '{extra[0]}' is not among the training classes")
        found = _found(root, [root / "train", root / "test"], classes, key)
        train, test = _files(found.images[: len(classes)]), _files(found.images[len(classes) :])
    tell_unused(found.unused, root)
    _warn_of_shared(found, train, test, root)
    return judged(train, test, classes, settings, str(root), found.unused)


def look(settings: Mapping[str, Any]) -> int | None:
    """How many training images `load` finds: it decodes nothing, so that looking is loading."""
    return len(load(settings).splits["train"])


def _found(root: Path, parts: Sequence[Path], classes: Sequence[str], key: str) -> FoundImages:
    """What the folders of all classes hold, first in the first part (train, or all), then in the second (test)."""
    folders = [part / name for part in parts for name in classes]
    found = find_images(folders, endings())
    for part in parts:
        note_outside(found, part, endings())
    if len(parts) > 1:
        found.note("beside", *found.not_linked(entry.path for entry in entries(root) if _is_beside(entry)))
    for number, part in enumerate(parts):
        if not any(found.images[number * len(classes) : (number + 1) * len(classes)]):
            raise TatrError(
                f"{part}: holds no image of any class ({KINDS}){found.instead(part)}; sort images into one folder per "
                f"class, or give another folder of classes as {key}.root, with test_fraction"
            )
    _refuse_empty(found, folders, len(classes))
    refuse_unused(found.unused, sum(map(len, found.images)), root, key)
    return found


def _is_beside(entry: "os.DirEntry[str]") -> bool:
    """Whether it might be a part of the data, and is neither train nor test: a folder, an image, a link to nothing."""
    if entry.name in ("train", "test") or is_no_class(entry.name):
        return False
    return is_folder(entry) or is_image(entry.name, endings()) or is_dead_link(entry)


def _warn_of_shared(found: FoundImages, train: Pictures, test: Pictures, root: Path) -> None:
    """Warn of files that are both training and test images, under several links: a score would measure memory."""
    several = [[*map(text_of, links)] for links in found.linked.values() if len(links) > 1]
    if not several:
        return
    splits = [{pictures.where(index) for index in range(len(pictures))} for pictures in (train, test)]
    if shared := [links for links in several if not any(split.isdisjoint(links) for split in splits)]:
        examples = ", ".join(shared[0][:4])
        logger.warning("%s: train and test have links to the same files (%d, such as %s)", root, len(shared), examples)


def _refuse_empty(found: FoundImages, folders: Sequence[Path], needed: int) -> None:
    """Raise an error if one of the first folders, which are needed, has no image, or another has all but images."""
    without = [folder for folder, images in zip(folders, found.images, strict=True) if not images]
    if empty := [folder for folder in without if folder in folders[:needed] or found.instead(folder)]:
        others = f" (nor do {len(empty) - 1} other classes, such as '{empty[1].name}')" if len(empty) > 1 else ""
        raise TatrError(f"{empty[0]}: holds no image ({KINDS}){others}{found.instead(empty[0])}; is a class empty?")


def _divided(
    found: FoundImages, classes: Sequence[str], root: Path, settings: Mapping[str, Any]
) -> tuple[Pictures, Pictures]:
    """Training and test images of folders that are not divided."""
    files, key = _files(found.images), f"tasks.{settings['task']}"
    if settings["lists"] is None:
        _refuse_inner_splits(files.paths, root, key)
        return set_aside(files, settings["test_fraction"], classes, f"{key}.test_fraction", str(root))
    train, test = listed_splits(files.paths, root, settings["lists"])
    found.note("unlisted", *unlisted(files, train, test))
    return Selection(files, train), Selection(files, test)


def _files(images: Sequence[Sequence[str]]) -> ImageFiles:
    """Images of each class, one class after the other."""
    labels = np.repeat(np.arange(len(images)), [len(paths) for paths in images])
    return ImageFiles([path for paths in images for path in paths], labels.astype(np.int64))


def _refuse_splits(root: Path, given: str, key: str) -> None:
    """Raise an error if a folder that is to be divided is divided."""
    names, splits = in_order(_folders(root)), _splits(root)
    if {"train", "test"} <= {*splits}:
        raise TatrError(f"{key}.{given}: {root} has folders 'train' and 'test' already; leave the key out")
    if splits:
        raise TatrError(
            f"{root}: its folders are called like splits, not like classes ({', '.join(splits)}), and hold folders; "
            f"{_advice(root, splits, key)}"
        )
    if names and {name.casefold() for name in names} <= SPLITS:
        raise TatrError(
            f"{root}: its folders are called like splits, not like classes ({', '.join(names)}); a data set that is "
            f"divided has folders 'train' and 'test' that hold one folder per class, and {given} divides a folder of "
            "classes"
        )


def _refuse_inner_splits(paths: Sequence[str | Path], root: Path, key: str) -> None:
    """Raise an error if classes are divided, not the whole: ROOT/CLASS/train/*."""
    below = (str(path).removeprefix(f"{root}/").split("/") for path in paths)
    inner = in_order({parts[1] for parts in below if len(parts) > 2 and parts[1].casefold() in SPLITS})
    if len(inner) > 1:
        raise TatrError(
            f"{root}: its class folders are divided ({', '.join(inner)}), which {key}.test_fraction would mix up; put "
            f"the classes into the splits ({root / 'train/CLASS'}, {root / 'test/CLASS'}), or name the images in "
            f"{key}.lists"
        )


def _expect_splits(root: Path, key: str) -> None:
    """Raise an error if a folder that is to be divided already isn't."""
    has_train, splits = (root / "train").is_dir(), _splits(root)
    if not has_train and splits:
        raise TatrError(f"{root}: has no folder 'train', but {', '.join(splits)}; {_advice(root, splits, key)}")
    if not has_train:
        raise TatrError(
            f"{root}: has no folder 'train'{_nested(root, key)}; set {key}.test_fraction to set some images aside as "
            f"test, or {key}.lists to name files that list the images of train and test"
        )
    if not (root / "test").is_dir():
        a_class = "" if _folders(root / "train") else "; if 'train' is a class, set test_fraction"
        raise TatrError(
            f"{root / 'test'}: no such folder, beside 'train' ({root} has {_shown(_folders(root))}); "
            f"{_advice(root, ['train', *sorted({*splits} - {'train'})], key)}{a_class}"
        )


def _advice(root: Path, splits: Sequence[str], key: str) -> str:
    """What to do about folders of splits, of which one is not called as it should be."""
    train = next((name for name in splits if _split_of(name).startswith("train")), splits[0])
    others = [name for name in splits if name != train]
    test = next((name for name in others if _split_of(name).startswith("test")), others[0] if others else None)
    rename = [f"'{old}' to '{new}'" for old, new in ((train, "train"), (test, "test")) if old and old != new]
    first = f"rename {' and '.join(rename)}" if test else "add a folder 'test'"
    return f"{first}, without test_fraction and lists; or set {key}.root: {root / train}, with test_fraction"


def _split_of(name: str) -> str:
    """The split that a folder's name speaks of (`seg_train`, `Test set`, `val2017`), in lower case; "" if of none."""
    return next((word for word in re.findall(r"[^\W\d_]+", name.casefold()) if word in SPLITS), "")


def _splits(root: Path) -> list[str]:
    """The folders that are called like splits and hold folders, as splits do: a class holds images."""
    called = {name: _folders(root / name) for name in in_order(_folders(root)) if _split_of(name)}
    divided = {name: of for name, of in called.items() if len(of) > 1 and not _holds_images(root / name)}

    def is_one(name: str) -> bool:
        # A class may be 'train station'. Two splits hold the same classes.
        others = [of for other, of in divided.items() if _split_of(other) != _split_of(name)]
        return name.casefold() in SPLITS or any(len(of & divided[name]) > 1 for of in others)

    return [name for name in divided if is_one(name)]


def _holds_images(folder: Path) -> bool:
    return any(is_image(entry.name, endings()) for entry in entries(folder))


def _classes(folder: Path, without: set[str], key: str) -> list[str]:
    classes = in_order(_folders(folder) - without)
    if len(classes) < 2:
        found = f"{len(classes)} ({classes[0]})" if classes else "none"
        raise TatrError(
            f"{folder}: expected at least two class folders, found {found}{_nested(folder, key)}; sort the images into "
            "one folder per class"
        )
    if strange := [name for name in map(text_of, classes) if name not in classes]:
        raise TatrError(f"{folder}: class folder '{strange[0]}' has a name that is no UTF-8; rename it")
    return classes


def _nested(folder: Path, key: str) -> str:
    """What to say of a folder that may hold the right one, as archives do when they are unpacked."""
    inner = next((folder / name for name in sorted(_folders(folder)) if len(_folders(folder / name)) > 1), None)
    return f" (did you mean {key}.root: {inner}, which has folders {_shown(_folders(inner))}?)" if inner else ""


def _shown(names: set[str]) -> str:
    return ", ".join(in_order(names)[:4]) + (", …" if len(names) > 4 else "")


def _folders(folder: Path) -> set[str]:
    return {entry.name for entry in entries(folder) if is_folder(entry) and not is_no_class(entry.name)}
