"""Each row of the table class by class, and which classes it takes for which."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tatr.measuring.predictions import Predictions
from tatr.report.tables import ByEvaluation

SHOWN = 30
"""Classes of a task that are drawn, those with the most errors of a row; the download has all."""

OTHERS = 10**6
"""Stands for all classes that are not drawn, and comes after them."""


def pooled(settings: Mapping[str, Any], predictions: ByEvaluation) -> dict[str, dict[str, Predictions]]:
    """Per row and task, the answers to the test images; those of several seeds after one another.

    Args:
        settings: of the table: `rows`, and `seeds`, if there are several.
        predictions: per evaluation and task.
    """
    found: dict[str, dict[str, Predictions]] = {}
    for of_row in zip(*(each["rows"] for each in settings.get("seeds", [settings])), strict=True):
        parts: dict[str, list[Predictions]] = {}
        for evaluation in dict.fromkeys(name for row in of_row for name in row["evaluations"]):
            for task, its in predictions[evaluation].items():
                parts.setdefault(task, []).append(its)
        found[of_row[0]["name"]] = {task: _joined(its) for task, its in parts.items()}
    return found


def per_class(rows: Mapping[str, Mapping[str, Predictions]], classnames: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """A line per row, task and class that has test images.

    Args:
        rows: of `pooled`.
        classnames: per task.

    Returns:
        Columns `method`, `task`, `label` (index of the class), `class` (its name), `images`, `accuracy` (in percent),
        `loss` (mean, nats).
    """
    lines = []
    for row, by_task in rows.items():
        for task, its in by_task.items():
            counts = np.bincount(its.labels, minlength=len(classnames[task]))
            right = np.bincount(its.labels, its.right, len(counts))
            losses = np.bincount(its.labels, its.losses, len(counts))
            lines += [
                {
                    **{"method": row, "task": task, "label": label, "class": classnames[task][label]},
                    **{"images": counts[label], "accuracy": 100 * right[label] / counts[label]},
                    "loss": losses[label] / counts[label],
                }
                for label in np.flatnonzero(counts).tolist()
            ]
    return pd.DataFrame(lines)


def hardest(classes: pd.DataFrame) -> pd.DataFrame:
    """Of each row and task the classes that are drawn: `SHOWN` at most, those with the most errors."""
    errors = classes["images"] * (100 - classes["accuracy"])
    order = classes.assign(errors=errors).sort_values("errors", ascending=False, kind="stable")
    return classes.loc[order.groupby(["method", "task"], sort=False).head(SHOWN).index.sort_values()]


def confusions(rows: Mapping[str, Mapping[str, Predictions]], drawn: pd.DataFrame) -> pd.DataFrame:
    """How often a class is taken for which.

    Args:
        rows: of `pooled`.
        drawn: of `hardest`; other classes that are predicted are counted as one, `OTHERS`.

    Returns:
        Columns `method`, `task`, `label`, `predicted` and `images`; without pairs that never occur.
    """
    labels = {key: its.to_numpy() for key, its in drawn.groupby(["method", "task"])["label"]}
    tables = []
    for row, by_task in rows.items():
        for task, its in by_task.items():
            chosen = labels[row, task]
            inside = np.isin(its.labels, chosen)
            predicted = np.where(np.isin(its.predicted, chosen), its.predicted, OTHERS)[inside]
            pairs = pd.DataFrame({"label": its.labels[inside], "predicted": predicted})
            counted = pairs.value_counts(sort=False).rename("images").reset_index()
            tables.append(counted.assign(method=row, task=task))
    return pd.concat(tables, ignore_index=True)[["method", "task", "label", "predicted", "images"]]


def _joined(parts: Iterable[Predictions]) -> Predictions:
    columns = zip(*((its.predicted, its.labels, its.losses) for its in parts), strict=True)
    return Predictions(*(np.concatenate(column) for column in columns))
