"""The files of a methods table: for spreadsheets, for reading, for the report."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tatr.report.paper.comparison import files as comparison_files
from tatr.report.tables import (
    ByEvaluation,
    markdown,
    marked_tasks,
    methods_table,
    paired_table,
    search_table,
    skipped,
    skipped_notes,
)


def files(
    settings: Mapping[str, Any], scores: Mapping[str, Any], predictions: ByEvaluation, warnings: Sequence[str] = ()
) -> dict[str, str]:
    """All files of a table, as text.

    Args:
        settings: `rows`, `tasks` and, if there are any, `unseen` (see `methods_table`), `names` (display names of
            tasks), `digits` (decimals) and, where the paper has some of the rows, `paper` (see
            `tatr.report.paper.matching.comparison`).
        scores: per evaluation, those of `tatr.measuring.evaluation.evaluate`.
        predictions: of the images, per evaluation and task.
        warnings: what a reader must not miss.

    Returns:
        Per file name its text: methods.csv, methods.md, paired.csv, search.csv, remarks.json; with `paper` also
        paper.csv, paper.md and paper.html.
    """
    rows, tasks, names, digits = (settings[key] for key in ("rows", "tasks", "names", "digits"))
    unseen = settings.get("unseen", ())
    table, left_out = methods_table(rows, scores, predictions, tasks, unseen), skipped(scores)
    columns, notes = marked_tasks([*tasks, *unseen], names, left_out), skipped_notes(names, left_out)
    texts = {
        "methods.csv": table.to_csv(),
        "methods.md": markdown(table, columns, digits, notes, warnings),
        "paired.csv": paired_table(rows, predictions).to_csv(index=False),
        "search.csv": search_table(rows, scores).to_csv(index=False),
        "remarks.json": json.dumps({"skipped": left_out, "warnings": [*warnings]}, indent=1) + "\n",
    }
    return texts | (comparison_files(table, settings, columns, notes, warnings) if settings.get("paper") else {})
