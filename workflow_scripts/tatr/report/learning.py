"""A warning for individual models that learnt next to nothing: what is merged from them is noise."""

from collections.abc import Collection, Mapping, Sequence
from math import log
from typing import Any

import numpy as np

from tatr.measuring.predictions import Predictions
from tatr.report.tables import INDIVIDUAL, PRETRAINED, ByEvaluation

SKILL = 0.1
"""Below this share of the way from guessing to perfect answers, a model is called no better than guessing."""

GAIN = 0.05
"""Below this share of the pre-trained model's mistakes put right, fine-tuning has hardly changed anything."""

MISTAKES = 0.1
"""At most so many of a pre-trained model's answers may be wrong to call it good already."""

ADVICE = (
    "Try more steps or another learning rate (finetuning.steps and learning_rate, or under finetuning.tasks.{task}), "
    "and look at the labels, the class names and the prompts."
)
"""Of a model that was trained here."""

ADVICE_IMPORTED = "Look at whether it is of this task, and at the labels, the class names and the prompts."
"""Of one that was fine-tuned elsewhere."""


def learnt_little(
    rows: Sequence[Sequence[Mapping[str, Any]]],
    predictions: ByEvaluation,
    tasks: Sequence[str],
    names: Mapping[str, str],
    imported: Collection[str] = (),
) -> list[str]:
    """What a reader of the table must know of individual models: a text per task whose model learnt next to nothing.

    Args:
        rows: of `tatr.report.tables.methods_table`, per seed.
        predictions: of the test images, per evaluation and task.
        tasks: that are merged.
        names: display names of tasks.
        imported: tasks whose models were fine-tuned elsewhere.
    """
    before, after = (_of_row(name, rows, predictions) for name in (PRETRAINED, INDIVIDUAL))
    texts = []
    for task in tasks:
        if task in after and (what := _remark(after[task], before.get(task))):
            advice = ADVICE_IMPORTED if task in imported else ADVICE.format(task=task)
            texts.append(f"The individual model of {names.get(task, task)} {what}. {advice}")
    return texts


def _remark(after: Predictions, before: Predictions | None) -> str:
    """What is wrong with an individual model, or an empty text."""
    # Not all data sets are balanced: always to answer the most frequent class may be right more often than 1 / C.
    classes = int(max(after.labels.max(), after.predicted.max())) + 1
    chance = float(np.bincount(after.labels).max() / len(after))
    accuracy, loss = float(after.right.mean()), float(after.losses.mean(dtype=np.float64))
    if accuracy - chance < SKILL * (1 - chance):
        return (
            f"learnt next to nothing: {_percent(accuracy)} of its test images are right, and {_percent(chance)} would "
            f"be if it always answered the most frequent of {classes} classes; its loss is {loss:.2f}, and that of "
            f"guessing ln {classes} = {log(classes):.2f}"
        )
    if before is None:
        return ""
    at_first = float(before.right.mean())
    if 1 - at_first > MISTAKES and accuracy - at_first < GAIN * (1 - at_first):
        return f"is hardly better than the pre-trained one: {_percent(accuracy)} on test, {_percent(at_first)} before"
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _of_row(
    name: str, rows: Sequence[Sequence[Mapping[str, Any]]], predictions: ByEvaluation
) -> dict[str, Predictions]:
    """The predictions of a reference, per task; those of several seeds together."""
    found: dict[str, list[Predictions]] = {}
    for row in (row for of_seed in rows for row in of_seed if row["reference"] and row["name"] == name):
        for evaluation in row["evaluations"]:
            for task, its in predictions[evaluation].items():
                found.setdefault(task, []).append(its)
    return {
        task: Predictions(
            *(np.concatenate([getattr(its, part) for its in group]) for part in ("predicted", "labels", "losses"))
        )
        for task, group in found.items()
    }
