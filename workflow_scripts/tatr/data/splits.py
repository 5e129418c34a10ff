"""How a task's images are divided: the one way to set images aside, for every source.

Test images, validation images, and the training images that a limit leaves are all drawn alike: at random, with the
same share of every class. No class loses its last training image: where small classes can't have their exact share,
large ones make up for it, so the number of images is always the one asked for. The draw depends on the labels and their
order alone. Its seed is 0 for any seed of the run, since splits belong to the data set.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from tatr.data.checks import check_counts, check_labels, check_names, numbered
from tatr.data.pictures import Pictures, Selection, SourceSplits
from tatr.errors import Problems, TatrError

MOST_VALIDATION = 5000
"""At most so many training images are set aside for validation."""


def judged(
    train: Pictures,
    test: Pictures,
    names: Sequence[str] | None,
    settings: Mapping[str, Any],
    where: str,
    unused: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> SourceSplits:
    """Check what a source holds against what the task expects, and set validation images aside.

    Args:
        train: the source's training images.
        test: its test images.
        names: what the source calls its classes, in label order; None if it doesn't name them.
        settings: those of `check_names` and `three_splits`.
        where: what was read, for messages.
        unused: paths of what lies there and is not used, by reason.

    Raises:
        TatrError: all that is wrong, as `check_names` and `three_splits` say it.
    """
    problems, splits = Problems(), dict[str, Pictures]()
    with problems.noting():
        check_names(names, settings, where)
    with problems.noting():
        splits |= three_splits(train, test, numbered(names, settings, train.labels, test.labels), settings, where)
    problems.raise_any()
    return SourceSplits(splits, names, unused)


def three_splits(
    train: Pictures, test: Pictures, classes: Sequence[str], settings: Mapping[str, Any], where: str
) -> dict[str, Pictures]:
    """Check the training and test images of a source, and set a share of the training images aside for validation.

    Args:
        train: the source's training images.
        test: its test images.
        classes: what the source calls its classes, in label order.
        settings: `task`, `counts`, `validation_fraction` and `limit` (at most so many training images are kept).
        where: what was read, for messages.

    Returns:
        The splits "train", "validation" and "test"; the first two in the source's order.

    Raises:
        TatrError: as `check_counts`, `check_labels` and `set_aside`; or `limit` is below the number of classes.
    """
    problems = Problems()
    with problems.noting():
        check_counts({"train": len(train), "test": len(test)}, settings, where)
    with problems.noting():
        check_labels(train.labels, test.labels, classes, where)
    problems.raise_any()
    key = f"tasks.{settings['task']}"
    fraction, limit = settings["validation_fraction"], settings["limit"]
    rest, validation = set_aside(train, fraction, classes, f"{key}.validation_fraction", where, MOST_VALIDATION)
    if limit is not None and limit < len(rest):
        rest = _limited(rest, limit, f"{key}.limit", where)
    return {"train": rest, "validation": validation, "test": test}


def set_aside(
    pictures: Pictures, fraction: float, classes: Sequence[str], key: str, where: str, most: int | None = None
) -> tuple[Selection, Selection]:
    """Divide images into (the rest, those set aside), both in their own order.

    Of every class, its exact share is set aside, rounded up or down, but never its last image. Classes that would have
    none are rounded up before all others. Images that small classes can't give are taken from the classes with the most
    images left; wherever the small classes allow it, every share is within one of the exact one.

    Args:
        pictures: to be divided.
        fraction: share to set aside, above 0 and below 1; rounded down to whole images.
        classes: names in label order, for messages.
        key: of the configuration that `fraction` is from, for messages.
        where: what was read, for messages.
        most: at most so many are set aside.

    Raises:
        TatrError: there are too few images to set any aside, or to leave every class one.
    """
    total = len(pictures)
    count = min(int(total * fraction), total if most is None else most)
    if not 0 < count < total:
        raise TatrError(f"{where}: {total} images are too few to set {fraction:g} of them aside; change {key}")
    present, members, sizes = np.unique(pictures.labels, return_inverse=True, return_counts=True)
    if count > total - len(present):
        # A class whose exact share has its last image.
        label, size = next((k, n) for k, n in zip(present, sizes, strict=True) if n * count > (n - 1) * total)
        raise TatrError(
            f"{where}: setting {count} of {total} images aside would leave no training image of class "
            f"'{_name(classes, label)}', which has {size}; lower {key}, or add images of that class"
        )
    aside = _draw(members, _shares_to_give(sizes, count))
    return Selection(pictures, np.flatnonzero(~aside)), Selection(pictures, np.flatnonzero(aside))


def _limited(pictures: Selection, limit: int, key: str, where: str) -> Selection:
    """As many of the images as a limit lets pass, in their own order."""
    present, members, sizes = np.unique(pictures.labels, return_inverse=True, return_counts=True)
    if limit < len(present):
        raise TatrError(
            f"{where}: {limit} training images are too few for {len(present)} classes; raise {key} to {len(present)} "
            "or more"
        )
    return Selection(pictures.whole, pictures.indices[_draw(members, _shares_to_keep(sizes, limit))])


def _shares_to_give(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many images to set aside of each class, [C], never its last: `count` in all, at most `sizes.sum() − C`."""
    shares = _shares(sizes, count, spare=1)
    ties = np.random.default_rng(0).permutation(len(sizes))
    while shares.sum() < count:  # fewer than C times, since _shares rounds down by less than one
        left = sizes - shares
        shares[ties[np.argmax(left[ties])]] += 1
    return shares


def _shares_to_keep(sizes: np.ndarray, count: int) -> np.ndarray:
    """How many images to keep of each class, [C], at least one: `count` in all, at least C and less than there are."""
    shares = np.ones(len(sizes), np.int64)
    others, remaining = np.arange(len(sizes)), count
    while not (of_others := _shares(sizes[others], remaining, spare=0)).all():
        # Classes whose exact share is below one keep one image, and the others share what remains.
        others = others[sizes[others] * remaining >= sizes[others].sum()]
        remaining = count - len(sizes) + len(others)
    shares[others] = of_others
    return shares


def _shares(sizes: np.ndarray, count: int, spare: int) -> np.ndarray:
    """How many images to take of each class, `count` in all.

    scikit-learn's StratifiedShuffleSplit would not do: it refuses classes of one image and counts below the number of
    classes, and its draws may change from version to version.

    Args:
        sizes: images of each class, int64 [C].
        count: how many to take, less than there are.
        spare: so many of each class must be left.

    Returns:
        int64 [C], within one of the exact shares `count · sizes / sizes.sum()`. The sum is below `count` if it can't
        be reached so without the images to be spared.
    """
    # In whole numbers, so that no rounding error decides who gets one more.
    shares, remainders = np.divmod(sizes.astype(np.int64) * count, sizes.sum())
    candidates = np.flatnonzero((remainders > 0) & (shares < sizes - spare))
    ties = np.random.default_rng(0).permutation(len(sizes))  # or the first of equal classes would always get more
    order = np.lexsort((ties[candidates], -remainders[candidates], shares[candidates] > 0))
    shares[candidates[order][: count - shares.sum()]] += 1
    return shares


def _draw(members: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Which images are taken, bool [n]: `shares` [C] of those whose class is 0 to C − 1 in `members` [n]."""
    order = np.random.default_rng(0).permutation(len(members))
    by_class = order[np.argsort(members[order], kind="stable")]
    sizes = np.bincount(members, minlength=len(shares))
    rank = np.arange(len(members)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    taken = np.zeros(len(members), bool)
    taken[by_class[rank < np.repeat(shares, sizes)]] = True
    return taken


def _name(classes: Sequence[str], label: int) -> str:
    # Labels without a name are refused when all images have been divided.
    return classes[label] if 0 <= label < len(classes) else f"label {label}"
