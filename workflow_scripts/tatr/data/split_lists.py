"""Splits given by text files that name images, one per line."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from tatr.errors import TatrError


def listed(paths: Sequence[str | Path], file: Path) -> np.ndarray:
    """Which images a text file names, one per line.

    An entry is the end of a path: 'airplane_001.jpg', 'abbey/sun_x.jpg' or '/a/abbey/sun_x.jpg'.

    Args:
        paths: of all images.
        file: the list. Empty lines are passed over.

    Returns:
        Indices int64 [n] into `paths`, in the list's order.

    Raises:
        TatrError: there is no such file, it is empty, or an entry names no image, several, or one named before.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TatrError(f"{file}: not a readable list of images, one per line ({error})") from error
    by_name = defaultdict[str, list[int]](list)
    for index, path in enumerate(paths):
        by_name[str(path).rpartition("/")[2]].append(index)
    line_of: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        if entry := line.strip().strip("/"):
            index = _match(paths, by_name, entry, f"{file}:{number}")
            if index in line_of:
                raise TatrError(f"{file}:{number}: names '{entry}' again, after line {line_of[index]}")
            line_of[index] = number
    if not line_of:
        raise TatrError(f"{file}: names no images")
    return np.array(list(line_of), np.int64)


def listed_splits(paths: Sequence[str | Path], root: Path, lists: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """The training and test images that two lists name.

    Args:
        paths: of all images.
        root: that the lists' paths are relative to.
        lists: paths of the lists for "train" and "test".

    Returns:
        Indices int64 into `paths` of train and of test.

    Raises:
        TatrError: as `listed`; or an image is in both.
    """
    train, test = (listed(paths, root / lists[split]) for split in ("train", "test"))
    if len(both := np.intersect1d(train, test)):
        raise TatrError(
            f"{root}: {len(both)} images are named by both {lists['train']} and {lists['test']}, "
            f"first {paths[both[0]]}; the test images must be others"
        )
    return train, test


def _match(paths: Sequence[str | Path], by_name: Mapping[str, list[int]], entry: str, where: str) -> int:
    parts = PurePosixPath(entry).parts
    matches = [i for i in by_name.get(parts[-1], []) if PurePosixPath(paths[i]).parts[-len(parts) :] == parts]
    if not matches:
        raise TatrError(f"{where}: names '{entry}', but no image's path ends so (of {len(paths)}); is one missing?")
    if len(matches) > 1:
        raise TatrError(
            f"{where}: names '{entry}', which fits {len(matches)} images, such as {paths[matches[0]]} "
            f"and {paths[matches[1]]}; give more of the path"
        )
    return matches[0]
