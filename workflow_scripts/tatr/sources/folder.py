"""Images in folders, one per class: ROOT/train/CLASS/* and ROOT/test/CLASS/*, or ROOT/CLASS/* to be divided."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from tatr.errors import TatrError
from tatr.progress import progress

SUFFIXES = {".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp", ".tif", ".tiff", ".pgm"}
Paths = list[tuple[Path, int]]


def load(settings: Mapping[str, Any]) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Decode all splits of a task.

    Folders are classes in alphabetical order; `classnames`, if given, names them in that order. Validation is a
    seeded share of train, at most 5,000 images. Images are resized (bicubic) and cropped to the centre.

    Raises:
        TatrError: a folder or a class is missing or empty, or an image can't be decoded (named by its path).
    """
    root = Path(settings["root"])
    if not root.is_dir():
        raise TatrError(f"tasks.{settings['task']}.root: {root} is no folder")
    if (root / "train").is_dir():
        classes = _classes(root / "train", settings)
        train, test = (_paths(root / split, classes) for split in ("train", "test"))
    elif settings["test_fraction"] is None:
        raise TatrError(f"{root}: has no 'train' folder; set tasks.{settings['task']}.test_fraction to divide it")
    else:
        classes = _classes(root, settings)
        train, test = _divide(_paths(root, classes), settings["test_fraction"], None)
    train, validation = _divide(train, settings["validation_fraction"], 5000)
    splits = {"train": train[: settings["limit"]], "validation": validation, "test": test}
    decoded = {
        split: _decode(paths, settings["size"], f"{settings['task']} {split}") for split, paths in splits.items()
    }
    return decoded, list(settings["classnames"] or [name.replace("_", " ") for name in classes])


def _classes(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(classes) < 2:
        raise TatrError(f"{folder}: expected at least two class folders, found {len(classes)}")
    names = settings["classnames"]
    if names and len(names) != len(classes):
        raise TatrError(
            f"tasks.{settings['task']}.classnames: lists {len(names)} classes, but {folder} has {len(classes)} "
            f"folders ({', '.join(classes[:4])}, …); name them in alphabetical order of the folders"
        )
    return classes


def _paths(folder: Path, classes: Sequence[str]) -> Paths:
    if not folder.is_dir():
        raise TatrError(f"{folder}: no such folder")
    if extra := sorted({path.name for path in folder.iterdir() if path.is_dir()} - set(classes)):
        raise TatrError(f"{folder}: class '{extra[0]}' is not among the training classes")
    paths: Paths = []
    for label, name in enumerate(classes):
        files = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise TatrError(f"{folder / name}: holds no image ({', '.join(sorted(SUFFIXES))}); is a class empty?")
        paths += [(path, label) for path in files]
    return paths


def _divide(paths: Paths, fraction: float, most: int | None) -> tuple[Paths, Paths]:
    # Seed 0 whatever the run's seed is: splits belong to the data set.
    order = np.random.default_rng(0).permutation(len(paths))
    count = min(int(len(paths) * fraction), most or len(paths))
    if not 0 < count < len(paths):
        raise TatrError(
            f"{paths[0][0].parent.parent}: {len(paths)} images are too few to set {fraction:g} of them aside"
        )
    return [paths[i] for i in order[count:]], [paths[i] for i in order[:count]]


def _decode(paths: Paths, size: int, description: str) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((len(paths), size, size, 3), np.uint8)
    for index, (path, _) in enumerate(progress(paths, description)):
        images[index] = _open(path, size)
    return images, np.array([label for _, label in paths], np.int64)


def _open(path: Path, size: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise TatrError(f"{path}: not a readable image ({error}); mend or remove it") from error
    # Rounded as torchvision's Resize and CenterCrop round.
    width, height = (size * side // min(picture.size) for side in picture.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(
        picture.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    )
