"""The methods table: a row per merge, a column per task, accuracy in percent."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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

UNLABELLED = {"test": "†", "validation": "‡"}
"""The mark of a row that learns from unlabelled images, by the split of these images."""

SKIPPED = "§"
"""The mark of a task with test images that could not be decoded."""

INDIVIDUAL = "Individual"
"""The reference by which accuracies are normalised: each task's own model."""

NORMALISED = "of individual"
"""The heading of normalised averages."""

DIFFERENCE = "over none"
"""The heading of what a row's trust region changes."""

NOTES = {
    "†": "adapted on the unlabelled test images",
    "‡": "adapted on unlabelled images held out of the training images",
}


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
        coefficient = float("nan") if row["reference"] else results[0]["coefficient"]
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
    """The columns of accuracies: tasks and average, then unseen tasks and their average."""
    deviations = [name for name in table if str(name).endswith(DEVIATION)] if SEEDS in table else []
    return table.drop(columns=[*STATEMENTS, *UNSEEN_STATEMENTS, SEEDS, *deviations], errors="ignore")


def headings(columns: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """What columns of accuracies are called: tasks by their display names, unseen ones with a mark.

    Args:
        columns: of `accuracies`, in order.
        names: display names of tasks.
    """
    found = {column: names.get(column, column) for column in columns}
    # What follows after the average is unseen.
    found |= {column: f"{found[column]} (unseen)" for column in columns[columns.index("average") + 1 :]}
    return found | ({UNSEEN_AVERAGE: "unseen average"} if UNSEEN_AVERAGE in found else {})


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
        cells = zip(_figures(table, str(column), digits), ranking[column], strict=True)
        text[column] = [marks[rank].format(figure) if figure else "" for figure, rank in cells]
    after = [*ranking].index("average") + 1
    text.columns = [*headings([*ranking], names).values()]  # last, as two may have the same name
    if table["normalised"].notna().any():
        text.insert(after, NORMALISED, _figures(table, "normalised", digits))
    if table["tau"].notna().any():
        text["τ"] = [f"{chosen} %" if chosen else "" for chosen in _chosen(table, "tau", 100)]
    text["λ"] = _chosen(table, "coefficient")
    for prefix, whose in (("", ""), ("unseen_", "unseen ")):
        for heading, shown in _uncertainty(table, digits, marks, prefix):
            text[whose + heading] = shown
    text.index = marked_names(table)
    return text


def _deviations(table: pd.DataFrame, column: str) -> pd.Series:
    none = pd.Series(np.nan, table.index)
    return table.get(column + DEVIATION, none) if SEEDS in table else none


def _figures(table: pd.DataFrame, column: str, digits: int) -> list[str]:
    """Figures in percent as text, over several seeds with their deviation; empty where there are none."""
    return [
        "" if pd.isna(value) else rounded(value, digits) + ("" if pd.isna(sd) else f" ± {rounded(sd, digits)}")
        for value, sd in zip(table[column], _deviations(table, column), strict=True)
    ]


def _chosen(table: pd.DataFrame, column: str, unit: float = 1) -> list[str]:
    """λ or τ as text; with a deviation where it was not the same for all seeds."""
    return [
        "" if pd.isna(value) else f"{unit * value:.3g} ± {unit * sd:.2g}" if sd > 0 else f"{unit * value:g}"
        for value, sd in zip(table[column], _deviations(table, column), strict=True)
    ]


def _uncertainty(
    table: pd.DataFrame, digits: int, marks: Mapping[int, str], prefix: str
) -> Iterator[tuple[str, list[str]]]:
    """The columns that say how certain an average is, and what the trust region changes of it."""
    low, high, *difference = (
        prefix + name for name in ("average_low", "average_high", "difference", "difference_low", "difference_high")
    )
    if low in table and table[low].notna().any():
        intervals = zip(table[low], table[high], strict=True)
        yield "95 %", ["" if pd.isna(a) else f"{rounded(a, digits)}–{rounded(b, digits)}" for a, b in intervals]
    if difference[0] in table and table[difference[0]].notna().any():
        changes = map(Interval, *(table[name] for name in difference))
        yield DIFFERENCE, [_difference(of_row, digits, marks[int(of_row.excludes_zero)]) for of_row in changes]


def _difference(interval: Interval, digits: int, mark: str) -> str:
    value, low, high = (signed(figure, digits) for figure in interval)
    if interval.value != interval.value:  # NaN: no pair
        return ""
    # Without an interval no seed has a part in the pair.
    return f"{mark.format(value)} [{low}, {high}]" if interval.low == interval.low else value


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
    if table["normalised"].notna().any():
        found.append(
            f"{NORMALISED}: each task's accuracy as a share of its individual model's, in %, averaged over tasks"
        )
    seeds = int(table[SEEDS].max()) if SEEDS in table else 1
    if seeds > 1:
        found.append(f"mean ± standard deviation over {seeds} seeds; without ±, no seed has a part in it")
    if table["average_low"].notna().any():
        over = "over test images (bootstrap, each task's images drawn anew)"
        found.append(f"95 %: interval of the average {f'over {seeds} seeds (Student t)' if seeds > 1 else over}")
    if table["difference"].notna().any():
        how = "paired by seed: Student t" if seeds > 1 else "the same bootstrap over pairs of predictions"
        found.append(
            f"{DIFFERENCE}: the average minus that of the same row without a trust region, in points, with its 95 % "
            f"interval ({how})"
        )
    if UNSEEN_AVERAGE in table:
        found.append("unseen: not merged, and nothing was chosen on these tasks; they have an average of their own")
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
