"""Splits given by text files that name images, one per line."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from tatr.data.pictures import Pictures
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
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise TatrError(f"{file}: not a readable list of images, as it is not UTF-8; save it as UTF-8") from error
    except OSError as error:
        raise TatrError(f"{file}: not a readable list of images, one per line ({error.strerror})") from error
    ends = _Ends(paths)
    line_of: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        if entry := line.strip().replace("\\", "/").strip("/"):
            index = ends.only(entry, f"{file}:{number}")
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


def unlisted(pictures: Pictures, *splits: np.ndarray) -> list[str]:
    """Where the images are that no list names; the lists' indices are int64."""
    left = np.setdiff1d(np.arange(len(pictures)), np.concatenate(splits))
    return [pictures.where(int(index)) for index in left]


class _Ends:
    """Paths by their ends. For each number of parts they are sorted once: a thousand classes may each have a 1.jpg."""

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self._paths, self._by_length = [str(path) for path in paths], dict[int, Mapping[str, Sequence[int]]]()

    def only(self, entry: str, where: str) -> int:
        """The index of the one path that ends in an entry.

        Raises:
            TatrError: none does, or several do.
        """
        parts = PurePosixPath(entry).parts
        matches = self._of_length(len(parts)).get("/".join(parts), ())
        if not matches:
            raise TatrError(
                f"{where}: names '{entry}', but no image's path ends so (of {len(self._paths)}); is one missing? "
                "Expected a path per line, and nothing else"
            )
        if len(matches) > 1:
            first, second = (self._paths[index] for index in matches[:2])
            raise TatrError(
                f"{where}: names '{entry}', which fits {len(matches)} images, such as {first} and {second}; give more "
                "of the path"
            )
        return matches[0]

    def _of_length(self, length: int) -> Mapping[str, Sequence[int]]:
        if length not in self._by_length:
            found = defaultdict[str, list[int]](list)
            for index, path in enumerate(self._paths):
                found["/".join(path.rsplit("/", length)[-length:])].append(index)
            self._by_length[length] = found
        return self._by_length[length]
