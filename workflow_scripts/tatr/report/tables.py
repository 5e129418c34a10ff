"""The methods table: a row per merge, a column per task, accuracy in percent."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tatr.report.markdown import table as markdown_table
from tatr.report.markdown import with_remarks

UNLABELLED = {"test": "†", "validation": "‡"}
"""The mark of a row that learns from unlabelled images, by the split of these images."""

SKIPPED = "§"
"""The mark of a task with test images that could not be decoded."""

NOTES = {
    "†": "adapted on the unlabelled test images",
    "‡": "adapted on unlabelled images held out of the training images",
}


def methods_table(rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Any], tasks: Sequence[str]) -> pd.DataFrame:
    """Accuracies in percent.

    Args:
        rows: `name`; `evaluations`: the names of the evaluations that together hold the row's scores; `reference`:
            true for rows that are not merges; `unlabelled`: the split whose unlabelled images it learnt from, if any.
        scores: per evaluation, what `tatr.measuring.evaluation.evaluate` returned.
        tasks: columns, in order.

    Returns:
        Index `method`; a column per task, then `average` (their mean), `coefficient` (λ, NaN for references), `tau`
        (NaN unless it was chosen on validation) and `unlabelled` (the split, or an empty text).
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
        lines.append(line | {"unlabelled": row.get("unlabelled", "")})
    return pd.DataFrame(lines).set_index("method")


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
    """Read a methods table that was written as CSV."""
    return pd.read_csv(path, index_col="method", dtype={"unlabelled": str}).fillna({"unlabelled": ""})


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of accuracies: tasks and average."""
    return table.drop(columns=["coefficient", "tau", "unlabelled"])


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
    text.index = marked_names(table)
    return text


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


def markdown(
    table: pd.DataFrame,
    names: Mapping[str, str],
    digits: int,
    extra_notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> str:
    """The table in Markdown: best in bold, second best in italics.

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
    return with_remarks(written, warnings, [*notes(table), *extra_notes])
