"""The methods table: a row per merge, a column per task, accuracy in percent."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

UNLABELLED = {"test": "†", "validation": "‡"}
"""Marks of rows that learn from unlabelled images, by the split these are of."""

SKIPPED = "§"
"""Mark of tasks some of whose test images could not be decoded."""

NOTES = {
    "†": "adapted on the unlabelled test images",
    "‡": "adapted on unlabelled images held out of the training images",
}


def methods_table(rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Any], tasks: Sequence[str]) -> pd.DataFrame:
    """Accuracies in percent.

    Args:
        rows: `name`; `evaluations`: the names of the evaluations that together hold the row's scores; `reference`:
            whether it is no merge; `unlabelled`: the split whose unlabelled images it learnt from, if any.
        scores: per evaluation, what `tatr.measuring.evaluation.evaluate` returned.
        tasks: columns, in order.

    Returns:
        Index `method`; a column per task, then `average` (their mean), `coefficient` (λ, NaN for references), `tau` (if
        it was chosen on validation, else NaN) and `unlabelled` (or an empty text).
    """
    table = []
    for row in rows:
        found = [scores[name] for name in row["evaluations"]]
        accuracies = {task: score["accuracy"] for result in found for task, score in result["scores"].items()}
        percent = {task: 100 * accuracies[task] for task in tasks}
        average = sum(percent.values()) / len(percent)
        coefficient = float("nan") if row["reference"] else found[0]["coefficient"]
        tau = float("nan") if found[0]["tau"] is None else found[0]["tau"]
        line = {"method": row["name"], **percent, "average": average, "coefficient": coefficient, "tau": tau}
        table.append(line | {"unlabelled": row.get("unlabelled", "")})
    return pd.DataFrame(table).set_index("method")


def search_table(rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Any]) -> pd.DataFrame:
    """What was tried on validation: per row and candidate τ, λ, mean accuracy in percent, and whether it was taken."""
    keys = ("tau", "coefficient")
    tried = [
        {"method": row["name"], **candidate, "taken": all(candidate[key] == found[key] for key in keys)}
        for row in rows
        for found in [scores[row["evaluations"][0]]]
        for candidate in found["search"]
    ]
    table = pd.DataFrame(tried, columns=["method", "tau", "coefficient", "validation", "taken"])
    table["validation"] *= 100
    return table


def skipped(scores: Mapping[str, Any]) -> dict[str, int]:
    """Per task, how many test images could not be decoded and are left out of its accuracy; tasks without any are not.

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
    """What that mark means, a line per task."""
    return [
        f"{SKIPPED} {count} test image{'' if count == 1 else 's'} of {names.get(task, task)} could not be decoded and "
        f"{'is' if count == 1 else 'are'} left out"
        for task, count in skipped.items()
    ]


def load_table(path: Path) -> pd.DataFrame:
    """Read a methods table that was written as CSV."""
    return pd.read_csv(path, index_col="method", dtype={"unlabelled": str}).fillna({"unlabelled": ""})


def accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of tasks and the average."""
    return table.drop(columns=["coefficient", "tau", "unlabelled"])


def references(table: pd.DataFrame) -> int:
    """How many rows at the top are no merges (Pre-trained, Individual, …) and compete for no mark."""
    return int(table["coefficient"].isna().sum())


def ranks(table: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Per column, 1 for the best merge and 2 for the second best; equals share a rank, references have none (0)."""
    merges = accuracies(table).iloc[references(table) :]
    # As shown (in `digits` decimals), not as computed: two rows that read the same must be marked the same.
    ranked = merges.round(digits).rank(ascending=False, method="dense")
    placed = pd.DataFrame(0, table.index, merges.columns)
    placed.iloc[references(table) :] = ranked.where(ranked <= 2, 0)
    return placed


def formatted(table: pd.DataFrame, names: Mapping[str, str], digits: int, marks: Mapping[int, str]) -> pd.DataFrame:
    """The table as text, with best and second best marked.

    Args:
        table: of `methods_table`.
        names: display names of tasks.
        digits: decimals.
        marks: per rank (0, 1, 2) a format with one `{}`.
    """
    placed = ranks(table, digits)
    text = pd.DataFrame(index=table.index)
    for column in placed:
        cells = zip(table[column], placed[column], strict=True)
        text[column] = [marks[rank].format(rounded(value, digits)) for value, rank in cells]
    text.columns = [names.get(column, column) for column in text.columns]  # at the end: two may be called alike
    if table["tau"].notna().any():
        text["τ"] = ["" if pd.isna(value) else f"{100 * value:g} %" for value in table["tau"]]
    text["λ"] = ["" if pd.isna(value) else f"{value:g}" for value in table["coefficient"]]
    text.index = marked_names(table)
    return text


def rounded(value: float, digits: int) -> str:
    """A figure in so many decimals."""
    return f"{value:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """A difference in so many decimals; what reads as zero has no sign."""
    shown = rounded(abs(value), digits)
    return shown if not float(shown) else f"{'+' if value > 0 else '−'}{shown}"


def marked_names(table: pd.DataFrame) -> list[str]:
    """The rows' names, with a mark where they learn from unlabelled images."""
    marks = [UNLABELLED.get(split, "") for split in table["unlabelled"]]
    return [f"{name} {mark}".strip() for name, mark in zip(table.index, marks, strict=True)]


def notes(table: pd.DataFrame) -> list[str]:
    """What the marks behind the rows' names mean, as far as they occur."""
    marks = [UNLABELLED[split] for split in UNLABELLED if (table["unlabelled"] == split).any()]
    return [f"{mark} {NOTES[mark]}" for mark in marks]


def markdown(
    table: pd.DataFrame,
    names: Mapping[str, str],
    digits: int,
    further: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> str:
    """The table in Markdown: best in bold, second best in italics.

    Args:
        table: of `methods_table`.
        names: display names of tasks.
        digits: decimals.
        further: notes beside those on the rows' marks.
        warnings: what a reader must not miss.
    """
    text = formatted(table, names, digits, {0: "{}", 1: "**{}**", 2: "*{}*"})
    header = ["Method", *text.columns]
    lines = [header, ["---", *["---:"] * len(text.columns)]]
    lines += [[str(name), *row] for name, row in zip(text.index, text.to_numpy().tolist(), strict=True)]
    said = [f"\n**⚠ {warning}**" for warning in warnings]
    said += [f"\n{note}" for note in (*notes(table), *further)]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), *said]) + "\n"
