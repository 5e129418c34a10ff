"""The files of a methods table: for spreadsheets, for reading, for Snakemake's report."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tatr.report.paper.comparison import files as paper_files
from tatr.report.published import comparison as published
from tatr.report.seeds import over_seeds, per_seed
from tatr.report.table_pages import methods_page, search_page
from tatr.report.table_text import markdown, marked_tasks, skipped_notes
from tatr.report.tables import ByEvaluation, methods_table, paired_table, search_table, skipped


def files(
    settings: Mapping[str, Any],
    scores: Mapping[str, Any],
    predictions: ByEvaluation,
    warnings: Sequence[str] = (),
    likened: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """All files of a table, as text.

    Args:
        settings: `rows`; `seeds`, if there are several, each with `seed` and its own `rows`; `tasks` and, if there are
            any, `unseen` (see `methods_table`); `names` (display names of tasks); `digits` (decimals); and, where the
            paper has some of the rows, `paper` (see `tatr.report.paper.matching.comparison`); where others publish
            averages of some, `published` (see `tatr.report.published.comparison.files`).
        scores: per evaluation, those of `tatr.measuring.evaluation.evaluate`.
        predictions: of the images, per evaluation and task.
        warnings: what a reader must not miss.
        likened: which published set of checkpoints the individual models are like, of
            `tatr.measuring.checkpoint_sets.likened`, if that was asked.

    Returns:
        Per file name its text: methods.csv, methods.md, methods.html, paired.csv, search.csv, search.html,
        remarks.json; with several seeds also per_seed.csv; with `paper` also paper.csv, paper.md and paper.html; with
        `published` also published.csv, published.md, published.html and published.json (its notes).
    """
    tasks, names, digits, unseen = *(settings[key] for key in ("tasks", "names", "digits")), settings.get("unseen", ())
    seeds = {each["seed"]: each["rows"] for each in settings.get("seeds", ())} or {None: settings["rows"]}
    tables = {seed: methods_table(rows, scores, predictions, tasks, unseen) for seed, rows in seeds.items()}
    several = len(tables) > 1
    table = over_seeds([*tables.values()], [*seeds.values()]) if several else next(iter(tables.values()))
    left_out = skipped(scores)
    columns, notes = marked_tasks([*tasks, *unseen], names, left_out), skipped_notes(names, left_out)
    searched = _joined({seed: search_table(rows, scores) for seed, rows in seeds.items()})
    texts = {
        "methods.csv": table.to_csv(),
        "methods.html": methods_page(table, columns, digits, notes, warnings),
        "methods.md": markdown(table, columns, digits, notes, warnings),
        "paired.csv": _joined({s: paired_table(rows, predictions) for s, rows in seeds.items()}).to_csv(index=False),
        "search.csv": searched.to_csv(index=False),
        "search.html": search_page(searched),
        "remarks.json": json.dumps({"skipped": left_out, "warnings": [*warnings]}, indent=1) + "\n",
    }
    texts |= {"per_seed.csv": per_seed(tables).to_csv(index=False)} if several else {}
    texts |= paper_files(table, settings, columns, notes, warnings) if settings.get("paper") else {}
    return texts | (published.files(table, settings, likened, warnings) if settings.get("published") else {})


def _joined(tables: Mapping[int | None, pd.DataFrame]) -> pd.DataFrame:
    """The tables of all seeds, with a column of seeds in front if there are several."""
    if len(tables) == 1:
        return next(iter(tables.values()))
    return pd.concat(tables, names=["seed"]).reset_index("seed")
