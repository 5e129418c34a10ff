"""How the methods table reads: figures as text, marks on the best, and what stands under it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from tatr.report.markdown import table as markdown_table
from tatr.report.markdown import with_remarks
from tatr.report.statistics import Interval
from tatr.report.tables import DEVIATION, SEEDS, UNSEEN_AVERAGE, accuracies, references

UNLABELLED = {"test": "†", "validation": "‡"}
"""The mark of a row that learns from unlabelled images, by the split of these images."""

SKIPPED = "§"
"""The mark of a task with test images that could not be decoded."""

NORMALISED = "of individual"
"""The heading of normalised averages."""

DIFFERENCE = "over none"
"""The heading of what a row's trust region changes."""

NOTES = {
    "†": "adapted on the unlabelled test images",
    "‡": "adapted on unlabelled images held out of the training images",
}


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


def cells(text: pd.DataFrame) -> list[list[str]]:
    """What `formatted` made, line by line: the headings, then each row behind its name."""
    rows = zip(text.index, text.to_numpy().tolist(), strict=True)
    return [["Method", *map(str, text.columns)], *([str(name), *row] for name, row in rows)]


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
    written = markdown_table(cells(text), "l" + "r" * len(text.columns))
    marked = "**Bold**: the best merge of a column, *italics*: the second best, whatever the intervals"
    marked += "; of differences, bold where the interval excludes zero." if DIFFERENCE in text else "."
    return with_remarks(written, warnings, [marked, *explanations(table), *notes(table), *extra_notes])
