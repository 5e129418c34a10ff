"""Checks of what a data source found against what a task expects: class order, class names, counts and labels.

A wrong class order is the most common silent mistake with zero-shot heads: every accuracy is then of other classes.
"""

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tatr.data.pictures import Found, Pictures, Selection, set_aside
from tatr.errors import TatrError

MOST_VALIDATION = 5000
"""At most so many training images are set aside for validation."""

logger = logging.getLogger("tatr")


def check_names(found: Sequence[str] | None, settings: Mapping[str, Any], source: str) -> list[str]:
    """Compare the source's own class names with a task's `labels` and `classnames`.

    Names are compared by letters and digits alone, without case and without leading zeros: 'Annual_Crop' is
    'annualcrop', '00007' is '7'. Without `labels`, only an order that differs from that of `classnames` is told.

    Args:
        found: the source's names in label order, or None if it knows none: then nothing but numbers can be checked.
        settings: `task`, `labels` and `classnames`, each None or a list in label order.
        source: what was read, for messages.

    Returns:
        The class names for prompts, in label order: `classnames`, or else the source's own.

    Raises:
        TatrError: numbers, names or their order differ; or there is nothing to call the classes.
    """
    task, labels, classnames = f"tasks.{settings['task']}", settings["labels"], settings["classnames"]
    if labels and classnames and len(labels) != len(classnames):
        raise TatrError(
            f"{task}.labels: lists {len(labels)} classes, but {task}.classnames {len(classnames)}; "
            "both are in label order, one entry per class"
        )
    if found is None:
        if not classnames:
            raise TatrError(f"{task}.classnames: must be given, since {source} doesn't name its classes")
        logger.warning("%s: names no classes; that their order is that of %s.classnames can't be checked", source, task)
        return list(classnames)
    for key, expected in (("labels", labels), ("classnames", classnames)):
        if expected and len(expected) != len(found):
            raise TatrError(
                f"{source}: has {len(found)} classes ({_some(found)}), but {task}.{key} lists {len(expected)} "
                f"({_some(expected)}){_difference(found, expected)}; use the whole data set, or change {key}"
            )
    if labels:
        _check_order(found, labels, f"{task}.labels", source)
    elif classnames and sorted(map(_normal, found)) == sorted(map(_normal, classnames)):
        _check_order(found, classnames, f"{task}.classnames", source)
    elif classnames:
        logger.warning(
            "%s: calls its classes %s, …; %s.classnames %s, …: whether they are in the same order can't be checked "
            "(%s.labels would)",
            source,
            ", ".join(found[:3]),
            task,
            ", ".join(classnames[:3]),
            task,
        )
    return list(classnames or [name.replace("_", " ") for name in found])


def check_counts(counts: Mapping[str, int], settings: Mapping[str, Any], source: str) -> None:
    """Compare the sizes of a source's own splits, before validation is set aside, with those expected.

    Args:
        counts: images of "train" and "test".
        settings: `task` and `images`, which is None or has the numbers expected (None: any).
        source: what was read, for messages.

    Raises:
        TatrError: they differ.
    """
    for split, expected in (settings["images"] or {}).items():
        if expected is not None and counts[split] != expected:
            raise TatrError(
                f"{source}: has {counts[split]} {split} images, expected {expected}; is it complete, and are these its "
                f"official splits? If they are what you want, set tasks.{settings['task']}.images"
            )


def check_labels(train: np.ndarray, test: np.ndarray, names: Sequence[str], source: str) -> None:
    """Check that labels are in range and that every class has images.

    Args:
        train: labels int64 [n] of the training images.
        test: labels int64 [n] of the test images.
        names: class names in label order.
        source: what was read, for messages.

    Raises:
        TatrError: a label has no name, or a class no training image. A class without test images is a warning.
    """
    for split, labels in (("train", train), ("test", test)):
        if not len(labels):
            raise TatrError(f"{source}: has no {split} images")
        if (low := int(labels.min())) < 0 or (high := int(labels.max())) >= len(names):
            raise TatrError(
                f"{source}: {split} has label {low if low < 0 else high}, expected 0 to {len(names) - 1} "
                f"({len(names)} classes); is an image unlabelled, or are classnames too few?"
            )
        if missing := np.flatnonzero(np.bincount(labels, minlength=len(names)) == 0).tolist():
            text = f"{len(missing)} classes have" if len(missing) > 1 else "a class has"
            message = f"{source}: {text} no {split} image: {_some([f'{names[i]} (label {i})' for i in missing])}"
            if split == "train":
                raise TatrError(f"{message}; use the whole data set, or set classnames and labels to what there is")
            logger.warning("%s; accuracy on what is missing can't be told", message)


def three_splits(
    train: Pictures, test: Pictures, names: Sequence[str], settings: Mapping[str, Any], source: str
) -> Found:
    """Check a source's own two splits, and set a seeded share of the training images aside for validation.

    Args:
        train: the source's training images.
        test: its test images.
        names: class names in label order.
        settings: `task`, `images`, `validation_fraction` and `limit` (at most so many training images are kept, drawn
            at random: many data sets are sorted by class).
        source: what was read, for messages.

    Returns:
        What a source's `load` returns.

    Raises:
        TatrError: as `check_counts` and `check_labels`.
    """
    check_counts({"train": len(train), "test": len(test)}, settings, source)
    check_labels(train.labels, test.labels, names, source)
    rest, validation = set_aside(train, settings["validation_fraction"], MOST_VALIDATION, source)
    kept = np.sort(np.random.default_rng(0).permutation(len(rest))[: settings["limit"]])
    return {"train": Selection(train, rest.indices[kept]), "validation": validation, "test": test}, list(names)


def _check_order(found: Sequence[str], expected: Sequence[str], key: str, source: str) -> None:
    pairs = [(_normal(ours), _normal(theirs)) for ours, theirs in zip(found, expected, strict=True)]
    at = next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), None)
    if at is None:
        return
    here = f"label {at} is '{found[at]}' there and '{expected[at]}' in {key}"
    if sorted(ours for ours, _ in pairs) == sorted(theirs for _, theirs in pairs):
        raise TatrError(f"{source}: class order differs, first at {here}; put {key} into the source's order")
    raise TatrError(f"{source}: class names differ, first at {here}; if both mean the same class, mend {key}")


def _normal(name: str) -> str:
    parts = re.findall(r"\d+|[^\W\d_]+", unicodedata.normalize("NFKC", name).casefold())
    # A name of signs alone has to stay different from another one.
    return "".join(part.lstrip("0") or "0" if part.isdecimal() else part for part in parts) or name


def _difference(found: Sequence[str], expected: Sequence[str]) -> str:
    ours, theirs = set(map(_normal, found)), set(map(_normal, expected))
    missing = [name for name in expected if _normal(name) not in ours]
    extra = [name for name in found if _normal(name) not in theirs]
    if len(missing) == len(expected):  # other names altogether, such as prompts: which one is missing can't be told
        return ""
    return (f", missing: {_some(missing)}" if missing else "") + (f", unexpected: {_some(extra)}" if extra else "")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
