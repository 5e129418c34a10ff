"""The methods table: a row per merge, a column per task, accuracy in percent."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tatr.measuring.predictions import Predictions
from tatr.report.markdown import table as markdown_table
from tatr.report.markdown import with_remarks
from tatr.report.statistics import Interval, average_accuracy, average_difference, discordances

ByEvaluation = Mapping[str, Mapping[str, Predictions]]
"""Per evaluation and task."""

STATEMENTS = (
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

UNLABELLED = {"test": "†", "validation": "‡"}
"""The mark of a row that learns from unlabelled images, by the split of these images."""

SKIPPED = "§"
"""The mark of a task with test images that could not be decoded."""

DIFFERENCE = "over none"
"""The heading of what a row's trust region changes."""

NOTES = {
    "†": "adapted on the unlabelled test images",
    "‡": "adapted on unlabelled images held out of the training images",
}


def methods_table(
    rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Any], predictions: ByEvaluation, tasks: Sequence[str]
) -> pd.DataFrame:
    """Accuracies in percent, and how certain they are.

    Args:
        rows: `name`; `evaluations`: the names of the evaluations that together hold the row's scores; `reference`:
            true for rows that are not merges; `unlabelled`: the split whose unlabelled images it learnt from, if any;
            `without`: the evaluations of the same row without its trust region, if it has one and the table that row.
        scores: per evaluation, those of `tatr.measuring.evaluation.evaluate`.
        predictions: of the images, per evaluation and task.
        tasks: columns, in order.

    Returns:
        Index `method`; a column per task, then `average` (their mean), `coefficient` (λ, NaN for references), `tau`
        (NaN unless it was chosen on validation), `unlabelled` (the split, or an empty text), `average_low` and `_high`
        (the average's interval), and `difference`, `_low` and `_high`: what the trust region changes of the average
        (paired, in points; NaN without such a pair). Intervals are those of `tatr.report.statistics`.
    """
    lines = []
    for row in rows:
        results = [scores[name] for name in row["evaluations"]]
        accuracies = {task: score["accuracy"] for result in results for task, score in result["scores"].items()}
        percent = {task: 100 * accuracies[task] for task in tasks}
        average = sum(percent.values()) / len(percent)
        coefficient = float("nan") if row["reference"] else results[0]["coefficient"]
        tau = float("nan") if results[0]["tau"] is None else results[0]["tau"]
        line = {"method": row["name"], **percent, "average": average, "coefficient": coefficient, "tau": tau}
        lines.append(line | {"unlabelled": row.get("unlabelled", "")} | _intervals(row, predictions))
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


def _intervals(row: Mapping[str, Any], predictions: ByEvaluation) -> dict[str, float]:
    own = _joined(row["evaluations"], predictions)
    _, low, high = average_accuracy(own)
    found = {"average_low": low, "average_high": high}
    difference = average_difference(own, _joined(row["without"], predictions)) if row.get("without") else 3 * (np.nan,)
    found |= zip(("difference", "difference_low", "difference_high"), difference, strict=True)
    return {key: 100 * value for key, value in found.items()}


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


def marked_tasks(tasks: Iterable[str], names: Mapping[str, str], skipped: Mapping[str, int]) -> dict[str, str]:
    """Display names of all tasks, with a mark where images are left out."""
    return {task: f"{names.get(task, task)}{f' {SKIPPED}' if task in skipped else ''}" for task in tasks}


def skipped_notes(names: Mapping[str, str], skipped: Mapping[str, int]) -> list[str]:
    """What the mark of left-out images means, a line per task."""
    return [
        f"{SKIPPED} {count} test image{'' if count == 1 else 's'} of {names.get(task, task)} could not be decoded and "
        f"{'is' if count == 1 else 'are'} left out"
        for task, count in skipped.items()
    ]


def load_table(path: Path) -> pd.DataFrame:
    """Read a methods table that was written as CSV; one that was made before there were intervals has NaN for them."""
    table = pd.read_csv(path, index_col="method", dtype={"unlabelled": str}).fillna({"unlabelled": ""})
    return table.assign(**{name: np.nan for name in STATEMENTS if name not in table})


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of accuracies: tasks and average."""
    return table.drop(columns=[*STATEMENTS], errors="ignore")


def references(table: pd.DataFrame) -> int:
    """How many rows at the top are not merges (Pre-trained, Individual, …) and so cannot be best or second best."""
    return int(table["coefficient"].isna().sum())


def ranks(table: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Per column, 1 for the best merge, 2 for the second best, else 0. Equal figures share a rank."""
    merges = accuracies(table).iloc[references(table) :]
    # Of the rounded figures that are shown: two rows that read the same must be marked the same.
    among_merges = merges.round(digits).rank(ascending=False, method="dense")
    all_rows = pd.DataFrame(0, table.index, merges.columns)
    all_rows.iloc[references(table) :] = among_merges.where(among_merges <= 2, 0)
    return all_rows


def formatted(table: pd.DataFrame, names: Mapping[str, str], digits: int, marks: Mapping[int, str]) -> pd.DataFrame:
    """The table as text, with best and second best marked.

    Args:
        table: of `methods_table`.
        names: display names of tasks.
        digits: decimals.
        marks: per rank (0, 1, 2) a format with one `{}`.
    """
    ranking = ranks(table, digits)
    text = pd.DataFrame(index=table.index)
    for column in ranking:
        cells = zip(table[column], ranking[column], strict=True)
        text[column] = [marks[rank].format(rounded(value, digits)) for value, rank in cells]
    text.columns = [names.get(column, column) for column in text.columns]  # last, as two may have the same name
    if table["tau"].notna().any():
        text["τ"] = ["" if pd.isna(value) else f"{100 * value:g} %" for value in table["tau"]]
    text["λ"] = ["" if pd.isna(value) else f"{value:g}" for value in table["coefficient"]]
    if table["average_low"].notna().any():
        ends = zip(table["average_low"], table["average_high"], strict=True)
        text["95 %"] = [f"{rounded(low, digits)}–{rounded(high, digits)}" for low, high in ends]
    if table["difference"].notna().any():
        differences = map(Interval, *(table[name] for name in STATEMENTS[-3:]))
        text[DIFFERENCE] = [_difference(of_row, digits, marks[int(of_row.excludes_zero)]) for of_row in differences]
    text.index = marked_names(table)
    return text


def _difference(interval: Interval, digits: int, mark: str) -> str:
    value, low, high = (signed(figure, digits) for figure in interval)
    return "" if pd.isna(interval.value) else f"{mark.format(value)} [{low}, {high}]"


def rounded(value: float, digits: int) -> str:
    """A figure with this many decimals."""
    return f"{value:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """A difference with this many decimals and its sign; without one if it reads as zero."""
    shown = rounded(abs(value), digits)
    return shown if not float(shown) else f"{'+' if value > 0 else '−'}{shown}"


def marked_names(table: pd.DataFrame) -> list[str]:
    """The rows' names, with a mark on those that learn from unlabelled images."""
    marks = [UNLABELLED.get(split, "") for split in table["unlabelled"]]
    return [f"{name} {mark}".strip() for name, mark in zip(table.index, marks, strict=True)]


def notes(table: pd.DataFrame) -> list[str]:
    """What the marks on the rows' names mean, for those that occur."""
    marks = [UNLABELLED[split] for split in UNLABELLED if (table["unlabelled"] == split).any()]
    return [f"{mark} {NOTES[mark]}" for mark in marks]


def explanations(table: pd.DataFrame) -> list[str]:
    """What the headings of intervals and differences mean, for those that occur."""
    found = []
    if table["average_low"].notna().any():
        found.append("95 %: interval of the average over test images (bootstrap, each task's images drawn anew)")
    if table["difference"].notna().any():
        found.append(
            f"{DIFFERENCE}: the average minus that of the same row without a trust region, in points, with its 95 % "
            "interval (the same bootstrap over pairs of predictions)"
        )
    return found


def markdown(
    table: pd.DataFrame,
    names: Mapping[str, str],
    digits: int,
    extra_notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> str:
    """The table in Markdown: best in bold, second best in italics; differences in bold where they exclude zero.

    Args:
        table: of `methods_table`.
        names: display names of tasks.
        digits: decimals.
        extra_notes: notes to add to those on the rows' marks.
        warnings: what a reader must not miss.
    """
    text = formatted(table, names, digits, {0: "{}", 1: "**{}**", 2: "*{}*"})
    rows = [[str(name), *row] for name, row in zip(text.index, text.to_numpy().tolist(), strict=True)]
    written = markdown_table([["Method", *text.columns], *rows], "l" + "r" * len(text.columns))
    marked = "**Bold**: the best merge of a column, *italics*: the second best, whatever the intervals"
    marked += "; of differences, bold where the interval excludes zero." if DIFFERENCE in text else "."
    return with_remarks(written, warnings, [marked, *explanations(table), *notes(table), *extra_notes])
