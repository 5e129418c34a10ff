"""The methods table: a row per merge, a column per task, accuracy in percent."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

REFERENCES = 2
"""Rows at the top that are no merges (Pre-trained, Individual) and compete for no mark."""


def methods_table(rows: Sequence[Mapping[str, Any]], scores: Mapping[str, Any], tasks: Sequence[str]) -> pd.DataFrame:
    """Accuracies in percent.

    Args:
        rows: `name`, and `evaluations`: the names of the evaluations that together hold the row's scores.
        scores: per evaluation, what `tatr.evaluation.evaluate` returned.
        tasks: columns, in order.

    Returns:
        Index `method`; a column per task, then `average` (their mean) and `coefficient` (λ, NaN for references).
    """
    table = []
    for index, row in enumerate(rows):
        found = [scores[name] for name in row["evaluations"]]
        accuracies = {task: score["accuracy"] for result in found for task, score in result["scores"].items()}
        percent = {task: 100 * accuracies[task] for task in tasks}
        average = sum(percent.values()) / len(percent)
        coefficient = float("nan") if index < REFERENCES else found[0]["coefficient"]
        table.append({"method": row["name"], **percent, "average": average, "coefficient": coefficient})
    return pd.DataFrame(table).set_index("method")


def ranks(table: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Per column, 1 for the best merge and 2 for the second best; equals share a rank, references have none (0)."""
    merges = table.iloc[REFERENCES:].drop(columns="coefficient")
    # As shown (in `digits` decimals), not as computed: two rows that read the same must be marked the same.
    ranked = merges.round(digits).rank(ascending=False, method="dense")
    return ranked.where(ranked <= 2, 0).reindex(table.index, fill_value=0).astype(int)


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
        text[column] = [marks[rank].format(f"{value:.{digits}f}") for value, rank in cells]
    text.columns = [names.get(column, column) for column in text.columns]  # at the end: two may be called alike
    text["λ"] = ["" if pd.isna(value) else f"{value:g}" for value in table["coefficient"]]
    return text


def markdown(table: pd.DataFrame, names: Mapping[str, str], digits: int) -> str:
    """The table in Markdown: best in bold, second best in italics."""
    text = formatted(table, names, digits, {0: "{}", 1: "**{}**", 2: "*{}*"})
    header = ["Method", *text.columns]
    lines = [header, ["---", *["---:"] * len(text.columns)]]
    lines += [[str(name), *row] for name, row in zip(text.index, text.to_numpy().tolist(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
