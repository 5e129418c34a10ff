"""The embedded benchmark: eight small image classification tasks that need no download.

Seven tasks are drawn, one shows real handwritten digits. Each lives in a module of its own,
`tatr.data.tiny8.<task>`, that is imported by name when it is needed: a record of which code
shaped an image then records the one module that drew it, and not the seven others.

Such a module offers `draw(classname, rng, split)`, which returns one uint8 image `[32, 32, 3]`.
"""

import hashlib
import importlib
from collections.abc import Sequence
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

TASKS = (
    "scenes",
    "cars",
    "aerial",
    "landuse",
    "housenumbers",
    "signs",
    "digits",
    "textures",
)
SPLITS = ("train", "validation", "test")
SIZE = 32


def generator(*parts: object) -> np.random.Generator:
    """A random generator that depends on nothing but `parts`, in every process and machine."""
    text = "/".join(str(part) for part in parts)
    digest = hashlib.sha256(text.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def task_module(task: str) -> ModuleType:
    """The module that draws `task`, imported only now."""
    if task not in TASKS:
        raise ValueError(f"unknown tiny8 task {task!r}; known: {', '.join(TASKS)}")
    return importlib.import_module(f"{__name__}.{task}")


def draw_split(
    task: str, classnames: Sequence[str], split: str, count: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw the first `count` images of one split of a task.

    Every image has its own generator, seeded with (seed, task, split, index): splits never share an
    image, and a smaller `count` gives exactly the beginning of a larger one.

    Args:
        task: one of `TASKS`.
        classnames: the classes, in label order.
        split: "train", "validation" or "test".
        count: how many images.
        seed: of the whole benchmark.

    Returns:
        images uint8 `[count, 32, 32, 3]` and labels int64 `[count]`, balanced and shuffled.

    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    module = task_module(task)
    labels = _labels(task, len(classnames), split, count, seed)
    images = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
    for index, label in enumerate(labels):
        rng = generator(seed, task, split, index)
        images[index] = module.draw(classnames[label], rng, split)
    return images, labels


def _labels(task: str, classes: int, split: str, count: int, seed: int) -> NDArray[np.int64]:
    """Labels in rounds, each a fresh permutation of all classes: any prefix is balanced."""
    if classes < 1:
        raise ValueError(f"tiny8 task {task!r} needs at least one class name")
    rounds = -(-count // classes)
    orders = [generator(seed, task, split, "labels", turn).permutation(classes) for turn in range(rounds)]
    return np.concatenate([*orders, np.empty(0, np.int64)])[:count].astype(np.int64)
