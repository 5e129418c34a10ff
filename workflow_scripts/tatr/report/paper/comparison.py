"""The paper's figures next to ours: three lines per row (paper, ours, difference), with numbered footnotes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tatr.report.html_page import page
from tatr.report.markdown import table as markdown_table
from tatr.report.markdown import with_remarks
from tatr.report.table_text import headings, rounded, signed
from tatr.report.tables import UNSEEN_AVERAGE, accuracies

LINES = ("paper", "ours", "difference")

WORDS = 3
"""Columns, from the left, that hold words and not figures."""


def compare(table: pd.DataFrame, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> pd.DataFrame:
    """Compare each row that the paper also has with the paper's figures.

    Args:
        table: of `tatr.report.tables.methods_table`.
        rows: of the table, in order: `name` and, where the paper has the row, `paper`: a
            `tatr.report.paper.matching.Match` as a dict.
        names: what the paper calls each task.

    Returns:
        Three lines per row: `method` (our row), `table` and `row` (of the paper), `value` (one of `LINES`), a column
        per task and `average` in percent (with unseen tasks as in the table; NaN where the paper's can't be read),
        `notes` (keys of footnotes, separated by spaces). The paper's averages are those that it prints.
    """
    percent = accuracies(table)
    lines = []
    for row, record in zip(rows, percent.to_dict("records"), strict=True):
        if match := row.get("paper"):
            measured = {str(task): accuracy for task, accuracy in record.items()}
            paper = {task: match["accuracies"][name] for task, name in names.items()} | {"average": match["average"]}
            if UNSEEN_AVERAGE in measured:
                paper[UNSEEN_AVERAGE] = np.nan if match["unseen_average"] is None else match["unseen_average"]
            difference = {key: measured[key] - paper[key] for key in measured}
            labels = {"method": row["name"], "table": match["table"], "row": match["method"]}
            notes = {"notes": " ".join(match["notes"])}
            values = zip(LINES, (paper, measured, difference), strict=True)
            lines += [{**labels, "value": value, **figures, **notes} for value, figures in values]
    return pd.DataFrame(lines, columns=["method", "table", "row", "value", *percent.columns, "notes"])


def files(
    table: pd.DataFrame,
    settings: Mapping[str, Any],
    names: Mapping[str, str],
    extra_notes: Sequence[str],
    warnings: Sequence[str],
) -> dict[str, str]:
    """The comparison as files: per name the text.

    Args:
        table: of `tatr.report.tables.methods_table`.
        settings: of the table: `rows`, `digits`, and `paper`, which is of `tatr.report.paper.matching.comparison`.
        names: display names of tasks.
        extra_notes: notes to add to the footnotes.
        warnings: shown above everything else.
    """
    about = settings["paper"]
    compared = compare(table, settings["rows"], about["names"])
    lines, footnotes = as_text(compared, names, settings["digits"], about)
    title = f"Accuracy in %: the paper's tables ({about['backbone']}) next to this run"
    notes = [*footnotes, *extra_notes]
    return {
        "paper.csv": compared.to_csv(index=False),
        "paper.md": markdown(lines, notes, warnings),
        "paper.html": page(title, lines, WORDS, warnings=warnings, notes=notes),
    }


def averages(path: Path) -> dict[str, float]:
    """The paper's averages by our row's name, from a comparison that was written as CSV."""
    table = pd.read_csv(path)
    printed = table[table["value"] == "paper"]
    return dict(zip(printed["method"], printed["average"], strict=True))


def as_text(
    compared: pd.DataFrame, names: Mapping[str, str], digits: int, about: Mapping[str, Any]
) -> tuple[list[list[str]], list[str]]:
    """A comparison as text for people.

    Args:
        compared: of `compare`.
        names: display names of tasks.
        digits: decimals.
        about: of `tatr.report.paper.matching.comparison`.

    Returns:
        The heading and the lines, each a list of cells; and the footnotes, numbered as they occur.
    """
    columns = {task: about["columns"].get(about["names"].get(task), ()) for task in compared.columns[4:-1]}
    keys = [key for notes in (*columns.values(), *compared["notes"].str.split()) for key in notes]
    numbers = {key: superscript(number) for number, key in enumerate(dict.fromkeys(keys), 1)}

    def marked(text: str, notes: Iterable[str]) -> str:
        return " ".join([text, *(numbers[key] for key in notes)])

    titles = headings([*columns], names)
    lines = [["Row", "In the paper", "", *(marked(titles[task], notes) for task, notes in columns.items())]]
    for line in compared.to_dict("records"):
        printed_in = marked(f"Table {line['table']}: {line['row']}", line["notes"].split())
        shown = signed if line["value"] == LINES[2] else rounded
        cells = ("" if pd.isna(line[task]) else shown(line[task], digits) for task in columns)
        # The first of the three lines says what they have in common.
        shared = (line["method"], printed_in) if line["value"] == LINES[0] else ("", "")
        lines.append([*shared, line["value"], *cells])
    return lines, [f"{number} {about['notes'][key]}" for key, number in numbers.items()]


def markdown(lines: Sequence[Sequence[str]], notes: Sequence[str], warnings: Sequence[str] = ()) -> str:
    """The result of `as_text` in Markdown, with warnings before its notes."""
    return with_remarks(markdown_table(lines, "l" * WORDS + "r" * (len(lines[0]) - WORDS)), warnings, notes)


def superscript(number: int) -> str:
    """A footnote's number as small raised digits."""
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
