"""Checks of what a data source holds against what a task expects: class order, class names, counts and labels.

A wrong class order is the most common silent mistake with zero-shot heads: every accuracy is then of other classes.
"""

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tatr.data.class_names import as_seen, twice
from tatr.errors import TatrError

logger = logging.getLogger("tatr")


def root_folder(settings: Mapping[str, Any], expected: str = "") -> Path:
    """The folder that a task's `root` names.

    Args:
        settings: `task` and `root`.
        expected: what it should hold, for the message.

    Raises:
        TatrError: it is no folder.
    """
    root = Path(settings["root"])
    with suppress(RuntimeError):  # there is no such user
        root = root.expanduser()
    if not root.is_dir():
        more = f"; {expected}" if expected else ""
        raise TatrError(f"tasks.{settings['task']}.root: {root} is no folder (seen from {Path.cwd()}){more}")
    return root


def check_names(names: Sequence[str] | None, settings: Mapping[str, Any], where: str) -> None:
    """Compare a source's class names with what a task expects, and with those of its head, if they are known here.

    Args:
        names: the source's class names in label order, or None if it knows none.
        settings: `task`, `source_classnames`; and `classnames`, where the head's names are known: the plan knows them,
            the images do not depend on them.
        where: what was read, for messages.

    Raises:
        TatrError: numbers, names or their order differ, or the head would have no names.
    """
    check_source_names(names, settings, where)
    if "classnames" in settings:
        classnames = settings["classnames"] or prompt_names(names, settings["task"], where)
        if warning := check_head_names(names, classnames, settings, where):
            logger.warning("%s", warning)


def check_source_names(names: Sequence[str] | None, settings: Mapping[str, Any], where: str) -> None:
    """Compare a source's class names with a task's `source_classnames`, where both are there.

    Names are compared by letters and digits alone, without case and without leading zeros: 'Annual_Crop' is
    'annualcrop', '00007' is '7'.

    Args:
        names: the source's class names in label order, or None if it knows none.
        settings: `task`, and `source_classnames`: None or a list in label order.
        where: what was read, for messages.

    Raises:
        TatrError: numbers, names or their order differ.
    """
    expected, key = settings["source_classnames"], f"tasks.{settings['task']}.source_classnames"
    if names is not None and expected:
        _check_number(names, expected, key, where)
        _check_order(names, expected, key, where)


def check_head_names(
    names: Sequence[str] | None, classnames: Sequence[str], settings: Mapping[str, Any], where: str
) -> str | None:
    """Compare a source's class names with those of a head. Names are compared as by `check_source_names`.

    Without `source_classnames`, whose order `check_source_names` compares, an order that differs is refused where both
    have the same names.

    Args:
        names: the source's class names in label order, or None if it knows none.
        classnames: the head's, in label order.
        settings: `task`, and `source_classnames`: None or a list in label order.
        where: what was read, for messages.

    Returns:
        Why the order can't be compared, if it can't.

    Raises:
        TatrError: numbers or the order differ.
    """
    task = f"tasks.{settings['task']}"
    if names is None:
        return f"{where}: has no class names, so the order of {task}.classnames can't be checked"
    _check_number(names, classnames, f"{task}.classnames", where)
    if settings["source_classnames"]:
        return None
    if sorted(map(_normal, names)) == sorted(map(_normal, classnames)):
        _check_order(names, classnames, f"{task}.classnames", where)
        return None
    return (
        f"{where} names its classes {_first(names)} and {task}.classnames is {_first(classnames)}: "
        f"their order can't be compared (set {task}.source_classnames to check it)"
    )


def prompt_names(names: Sequence[str] | None, task: str, where: str) -> list[str]:
    """Class names for prompts, made from those of a source.

    Args:
        names: the source's, in label order, or None if it knows none.
        task: its name.
        where: what was read, for messages.

    Raises:
        TatrError: the source has none, or one that says nothing, or two that look the same.
    """
    if names is None:
        raise TatrError(f"tasks.{task}.classnames: must be given, since {where} doesn't name its classes")
    prompts = [name.replace("_", " ") for name in names]
    key = f"tasks.{task}.classnames: must be given, since {where}"
    if nameless := [label for label, name in enumerate(prompts) if not as_seen(name)]:
        raise TatrError(f"{key} has a class without a name ({names[nameless[0]]!r}, label {nameless[0]})")
    if same := twice(prompts):
        raise TatrError(f"{key} has two classes called {same}")
    return prompts


def numbered(names: Sequence[str] | None, settings: Mapping[str, Any], *labels: np.ndarray) -> list[str]:
    """The classes of a source in label order, also of one that doesn't name them: by its own names, or those expected,
    or their labels.

    Args:
        names: the source's, or None.
        settings: `source_classnames`: None or a list; `classnames`, if the head's names are known here.
        labels: all labels, int64 [n].

    Raises:
        TatrError: there are fewer images than labels, so they are no labels.
    """
    largest = max((int(part.max()) for part in labels if len(part)), default=-1)
    expected = settings["source_classnames"] or settings.get("classnames")
    if not (names or expected) and largest >= (count := sum(map(len, labels))):
        raise TatrError(
            f"tasks.{settings['task']}: has label {largest}, but only {count} images, and every class needs some; are "
            "these numbers labels?"
        )
    return [*(names or expected or map(str, range(largest + 1)))]


def check_counts(counts: Mapping[str, int], settings: Mapping[str, Any], where: str) -> None:
    """Compare the sizes of a source's training and test sets, before validation is set aside, with those expected.

    Args:
        counts: images of "train" and "test".
        settings: `task` and `counts`, which is None or has the numbers expected (None: any).
        where: what was read, for messages.

    Raises:
        TatrError: they differ.
    """
    for split, expected in (settings["counts"] or {}).items():
        if expected is not None and counts[split] != expected:
            raise TatrError(
                f"{where}: has {counts[split]} {split} images, expected {expected}; is it complete, and are these its "
                f"official splits? If they are what you want, set tasks.{settings['task']}.counts"
            )


def check_labels(train: np.ndarray, test: np.ndarray, classes: Sequence[str], where: str) -> None:
    """Check that labels are in range and that every class has images.

    Args:
        train: labels int64 [n] of the training images.
        test: labels int64 [n] of the test images.
        classes: names in label order.
        where: what was read, for messages.

    Raises:
        TatrError: a label has no name, or a class no training image. A class without test images is a warning.
    """
    for split, labels in (("train", train), ("test", test)):
        if not len(labels):
            raise TatrError(f"{where}: has no {split} images")
        outside = labels[(labels < 0) | (labels >= len(classes))]
        if len(outside):
            remedy = (
                f"images without a label can't be used: leave them out, or take a labelled part as {split}"
                if outside.min() < 0
                else "do labels count from 1, or are classnames too few?"
            )
            raise TatrError(
                f"{where}: {split} has label {outside.min() if outside.min() < 0 else outside.max()}, expected 0 to "
                f"{len(classes) - 1} ({len(classes)} classes), in {len(outside)} of {len(labels)} images; {remedy}"
            )
        if missing := np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0).tolist():
            text = f"{len(missing)} classes have" if len(missing) > 1 else "a class has"
            message = f"{where}: {text} no {split} image: {_first([f'{classes[i]} (label {i})' for i in missing])}"
            if split == "train":
                raise TatrError(
                    f"{message}; use the whole data set, or list only the classes that exist in classnames and "
                    "source_classnames"
                )
            logger.warning("%s; accuracy on the missing classes can't be measured", message)


def check_exemplars(available: int, count: int, where: str) -> None:
    """Check that a task has as many training images as exemplars are asked for.

    Args:
        available: training images, without those set aside for validation.
        count: exemplars.
        where: what was read, for the message.

    Raises:
        TatrError: there are fewer.
    """
    if count > available:
        raise TatrError(
            f"{where}: {count} exemplars requested, but there are {available} training images; lower "
            "exemplars.count, or the `exemplars` of a merge's trust region"
        )


def _check_number(names: Sequence[str], listed: Sequence[str], key: str, where: str) -> None:
    if len(listed) != len(names):
        raise TatrError(
            f"{where}: has {len(names)} classes ({_first(names)}), but {key} lists {len(listed)} "
            f"({_first(listed)}){_difference(names, listed)}; use the whole data set, or change {key}"
        )


def _check_order(names: Sequence[str], expected: Sequence[str], key: str, where: str) -> None:
    normal, wanted = list(map(_normal, names)), list(map(_normal, expected))
    label = next((i for i, pair in enumerate(zip(normal, wanted, strict=True)) if pair[0] != pair[1]), None)
    if label is None:
        return
    first = f"label {label} is '{names[label]}' there and '{expected[label]}' in {key}"
    if sorted(normal) == sorted(wanted):
        raise TatrError(f"{where}: class order differs, first at {first}; put {key} into the source's order")
    raise TatrError(f"{where}: class names differ, first at {first}; if both mean the same class, fix {key}")


def _normal(name: str) -> str:
    parts = re.findall(r"\d+|[^\W\d_]+", unicodedata.normalize("NFKC", name).casefold())
    # Names that consist of signs alone must stay different.
    return "".join(part.lstrip("0") or "0" if part.isdecimal() else part for part in parts) or name


def _difference(names: Sequence[str], expected: Sequence[str]) -> str:
    normal, wanted = set(map(_normal, names)), set(map(_normal, expected))
    missing = [name for name in expected if _normal(name) not in normal]
    extra = [name for name in names if _normal(name) not in wanted]
    if len(missing) == len(expected):  # other names altogether, such as prompts: which one is missing is unknown
        return ""
    return (f", missing: {_first(missing)}" if missing else "") + (f", unexpected: {_first(extra)}" if extra else "")


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
