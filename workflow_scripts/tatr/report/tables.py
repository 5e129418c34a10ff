"""The methods table: a row per merge, a column per task, accuracy in percent."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tatr.measuring.predictions import Predictions
from tatr.report.statistics import Interval, average_accuracy, average_difference, discordances

ByEvaluation = Mapping[str, Mapping[str, Predictions]]
"""Per evaluation and task."""

STATEMENTS = (
    "normalised",
    "coefficient",
    "tau",
    "unlabelled",
    "average_low",
    "average_high",
    "difference",
    "difference_low",
    "difference_high",
)
"""Columns that are no accuracies."""

UNSEEN_AVERAGE = "unseen_average"
"""The last column of accuracies, where tasks are evaluated that were not merged; those stand before it."""

UNSEEN_STATEMENTS = (
    "unseen_average_low",
    "unseen_average_high",
    "unseen_difference",
    "unseen_difference_low",
    "unseen_difference_high",
)
"""Further columns that are no accuracies, where there are unseen tasks."""

SEEDS = "seeds"
"""The column, in tables over several seeds, of how many seeds a row's means are over."""

DEVIATION = "_sd"
"""Ends the names of their columns of standard deviations."""


PRETRAINED = "Pre-trained"
"""The reference before any fine-tuning."""

INDIVIDUAL = "Individual"
"""The reference by which accuracies are normalised: each task's own model."""


def methods_table(
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Any],
    predictions: ByEvaluation,
    tasks: Sequence[str],
    unseen: Sequence[str] = (),
) -> pd.DataFrame:
    """Accuracies in percent, and how certain they are.

    Args:
        rows: `name`; `evaluations`: the names of the evaluations that together hold the row's scores; `reference`:
            true for rows that are not merges; `unlabelled`: the split whose unlabelled images it learnt from, if any;
            `without`: the evaluations of the same row without its trust region, if it has one and the table that row.
        scores: per evaluation, those of `tatr.measuring.evaluation.evaluate`.
        predictions: of the images, per evaluation and task.
        tasks: that are merged; columns, in order.
        unseen: tasks that are evaluated but not merged, in order.

    Returns:
        Index `method`; a column per task, then `average` (their mean), `normalised` (the mean of their shares in the
        individual models' accuracies, in percent; NaN without these), `coefficient` (λ, NaN for references), `tau`
        (NaN unless it was chosen on validation), `unlabelled` (the split, or an empty text), `average_low` and `_high`
        (the average's interval), and `difference`, `_low` and `_high`: what the trust region changes of the average
        (paired, in points; NaN without such a pair). Intervals are those of `tatr.report.statistics`.
        With unseen tasks, their columns and `unseen_average` (NaN in rows that have no value there) follow after
        `average`, and the intervals and the difference of this average come last.
    """
    lines = []
    individual = next((_accuracies(row, scores) for row in rows if row["reference"] and row["name"] == INDIVIDUAL), {})
    for row in rows:
        results, accuracies = [scores[name] for name in row["evaluations"]], _accuracies(row, scores)
        percent = {task: 100 * accuracies[task] for task in tasks}
        percent["average"] = sum(percent.values()) / len(percent)
        if unseen:
            others = {task: 100 * accuracies.get(task, np.nan) for task in unseen}
            percent |= others | {UNSEEN_AVERAGE: sum(others.values()) / len(others)}
        coefficient = float("nan") if row["reference"] else row.get("coefficient", results[0]["coefficient"])
        tau = float("nan") if results[0]["tau"] is None else results[0]["tau"]
        line = {"method": row["name"], **percent, "normalised": _normalised(accuracies, individual, tasks)}
        line |= {"coefficient": coefficient, "tau": tau}
        line |= {"unlabelled": row.get("unlabelled", "")} | _intervals(row, predictions, tasks)
        lines.append(line | (_intervals(row, predictions, unseen, "unseen_") if unseen else {}))
    return pd.DataFrame(lines).set_index("method")


def paired_table(rows: Sequence[Mapping[str, Any]], predictions: ByEvaluation) -> pd.DataFrame:
    """What the trust region changes, task by task, for each row that has one, and a row without it to compare with.

    Args:
        rows: as in `methods_table`.
        predictions: of the images, per evaluation and task.

    Returns:
        Columns `method`, `task`, `gained` and `lost` (test images that only the row with, or only the one without it
        classifies correctly), `images`, `difference` (in points) and `p_value` (of McNemar's exact test).
    """
    lines = [
        {
            **{"method": row["name"], "task": task},
            **{"gained": pair.gained, "lost": pair.lost, "images": pair.images},
            **{"difference": 100 * pair.difference, "p_value": pair.p_value},
        }
        for row in rows
        if row.get("without")
        for task, pair in discordances(
            _joined(row["evaluations"], predictions), _joined(row["without"], predictions)
        ).items()
    ]
    return pd.DataFrame(lines, columns=["method", "task", "gained", "lost", "images", "difference", "p_value"])


def _accuracies(row: Mapping[str, Any], scores: Mapping[str, Any]) -> dict[str, float]:
    """A row's accuracies in [0, 1], per task."""
    results = (scores[name]["scores"] for name in row["evaluations"])
    return {task: float(score["accuracy"]) for result in results for task, score in result.items()}


def _normalised(own: Mapping[str, float], individual: Mapping[str, float], tasks: Sequence[str]) -> float:
    if not all(individual.get(task) for task in tasks):
        return np.nan
    return 100 * sum(own[task] / individual[task] for task in tasks) / len(tasks)


def _intervals(
    row: Mapping[str, Any], predictions: ByEvaluation, tasks: Collection[str], prefix: str = ""
) -> dict[str, float]:
    """Of the average over some tasks; NaN where a row has no value for them."""
    own, without = (
        {task: its for task, its in _joined(row.get(key, ()), predictions).items() if task in tasks}
        for key in ("evaluations", "without")
    )
    nothing = Interval(np.nan, np.nan, np.nan)
    average = average_accuracy(own) if own else nothing
    difference = average_difference(own, without) if own and without else nothing
    found = {"average_low": average.low, "average_high": average.high}
    found |= zip(("difference", "difference_low", "difference_high"), difference, strict=True)
    return {prefix + key: 100 * value for key, value in found.items()}


def _joined(evaluations: Iterable[str], predictions: ByEvaluation) -> dict[str, Predictions]:
    return {task: its for name in evaluations for task, its in predictions[name].items()}


def search_table(rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Any]) -> pd.DataFrame:
    """What was tried on validation: per row and candidate τ, λ, mean accuracy in percent, and whether it was chosen."""
    keys = ("tau", "coefficient")
    candidates = [
        {"method": row["name"], **candidate, "taken": all(candidate[key] == result[key] for key in keys)}
        for row in rows
        for result in [scores[row["evaluations"][0]]]
        for candidate in result["search"]
    ]
    table = pd.DataFrame(candidates, columns=["method", "tau", "coefficient", "validation", "taken"])
    table["validation"] *= 100
    return table


def skipped(scores: Mapping[str, Any]) -> dict[str, int]:
    """Per task with such images, how many test images could not be decoded and are left out of its accuracy.

    Args:
        scores: per evaluation, what `tatr.measuring.evaluation.evaluate` returned.
    """
    counts: dict[str, int] = {}
    for result in scores.values():
        for task, score in result["scores"].items():
            counts[task] = max(counts.get(task, 0), score.get("skipped", 0))
    return {task: count for task, count in sorted(counts.items()) if count}


def load_table(path: Path) -> pd.DataFrame:
    """Read a methods table that was written as CSV; one that was made before there were intervals has NaN for them."""
    table = pd.read_csv(path, index_col="method", dtype={"unlabelled": str}).fillna({"unlabelled": ""})
    return table.assign(**{name: np.nan for name in STATEMENTS if name not in table})


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of accuracies: tasks and average, then unseen tasks and their average."""
    deviations = [name for name in table if str(name).endswith(DEVIATION)] if SEEDS in table else []
    return table.drop(columns=[*STATEMENTS, *UNSEEN_STATEMENTS, SEEDS, *deviations], errors="ignore")


def references(table: pd.DataFrame) -> int:
    """How many rows at the top are not merges (Pre-trained, Individual, …) and so cannot be best or second best."""
    return int(table["coefficient"].isna().sum())
