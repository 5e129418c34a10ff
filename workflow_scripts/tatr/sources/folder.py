"""Images in folders, one per class: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* to be divided."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from tatr.errors import TatrError
from tatr.progress import progress

SUFFIXES = {".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}
Paths = list[tuple[Path, int]]
logger = logging.getLogger("tatr")


def load(settings: Mapping[str, Any]) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Decode all splits of a task.

    Folders are classes, in the order in which a person sorts them (2 before 10); `classnames`, if given, names them
    in that order. A class may have no test image, as in small samples of a data set. Validation is a seeded share of
    every class of train, at most 5,000 images in all. Images are resized (bicubic) and cropped to the centre.

    Raises:
        TatrError: a folder or a class is missing or empty, or an image can't be decoded (named by its path).
    """
    root = Path(settings["root"]).expanduser()
    where = f"tasks.{settings['task']}"
    if not root.is_dir():
        raise TatrError(f"{where}.root: {root} is no folder (seen from {Path.cwd()})")
    if settings["test_fraction"] is not None:
        if (root / "train").is_dir() and (root / "test").is_dir():
            raise TatrError(f"{where}.test_fraction: {root} has folders 'train' and 'test' already; leave the key out")
        classes = _classes(root, settings)
        train, test = _divide(_paths(root, classes), settings["test_fraction"], None)
    elif not (root / "train").is_dir():
        raise TatrError(f"{root}: has no folder 'train'; set {where}.test_fraction to set some images aside as test")
    else:
        classes = _classes(root / "train", settings)
        train, test = _paths(root / "train", classes), _paths(root / "test", classes, may_lack=True)
    train, validation = _divide(train, settings["validation_fraction"], 5000)
    splits = {"train": train[: settings["limit"]], "validation": validation, "test": test}
    decoded = {
        split: _decode(paths, settings["size"], f"{settings['task']} {split}") for split, paths in splits.items()
    }
    return decoded, list(settings["classnames"] or [name.replace("_", " ") for name in classes])


def _classes(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    classes = sorted(_folders(folder), key=_by_number)
    if len(classes) < 2:
        raise TatrError(f"{folder}: expected at least two class folders, found {len(classes)}")
    names = settings["classnames"]
    if names and len(names) != len(classes):
        raise TatrError(
            f"tasks.{settings['task']}.classnames: lists {len(names)} classes, but {folder} has {len(classes)} "
            f"folders ({', '.join(classes[:4])}, …); name them in the order of the folders"
        )
    return classes


def _folders(folder: Path) -> set[str]:
    # Not .ipynb_checkpoints, __MACOSX and their like.
    return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _paths(folder: Path, classes: Sequence[str], may_lack: bool = False) -> Paths:
    if not folder.is_dir():
        raise TatrError(f"{folder}: no such folder")
    if extra := sorted(_folders(folder) - set(classes)):
        raise TatrError(f"{folder}: class '{extra[0]}' is not among the training classes")
    paths: Paths = []
    for label, name in enumerate(classes):
        files = sorted(path for path in (folder / name).rglob("*") if _is_image(path.relative_to(folder)))
        if not files and not may_lack:
            raise TatrError(f"{folder / name}: holds no image ({', '.join(sorted(SUFFIXES))}); is a class empty?")
        if not files:
            logger.warning("%s: no image of class '%s'; its accuracy can't be told", folder, name)
        paths += [(path, label) for path in files]
    if not paths:
        raise TatrError(f"{folder}: holds no image of any class")
    return paths


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _divide(paths: Paths, fraction: float, most: int | None) -> tuple[Paths, Paths]:
    # Seed 0 whatever the run's seed is: splits belong to the data set.
    random = np.random.default_rng(0)
    order = random.permutation(len(paths))
    count = min(int(len(paths) * fraction), most or len(paths))
    if not 0 < count < len(paths):
        raise TatrError(
            f"{paths[0][0].parent.parent}: {len(paths)} images are too few to set {fraction:g} of them aside"
        )
    # The same share of every class: an image's rank within its class, from 0 to 1, says who goes first.
    size, seen = Counter(label for _, label in paths), Counter[int]()
    rank = np.empty(len(paths))
    for index in order:
        label = paths[index][1]
        rank[index] = (seen[label] + random.random()) / size[label]
        seen[label] += 1
    aside = set(np.argsort(rank)[:count].tolist())
    return [paths[i] for i in order if i not in aside], [paths[i] for i in order if i in aside]


def _decode(paths: Paths, size: int, description: str) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((len(paths), size, size, 3), np.uint8)
    for index, (path, _) in enumerate(progress(paths, description)):
        images[index] = _open(path, size)
    return images, np.array([label for _, label in paths], np.int64)


def _open(path: Path, size: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            mode, picture = image.mode, image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise TatrError(f"{path}: not a readable image ({error}); mend or remove it") from error
    if mode.startswith(("I", "F")):
        raise TatrError(f"{path}: has more than 8 bits per colour; convert it to 8 bits, in the way your data asks for")
    # Rounded as torchvision's Resize and CenterCrop round.
    width, height = (size * side // min(picture.size) for side in picture.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(
        picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    )
