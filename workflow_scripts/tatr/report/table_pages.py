"""Tables as HTML pages, which Snakemake's report shows in place."""

from collections.abc import Mapping, Sequence

import pandas as pd

from tatr.report.html_page import page
from tatr.report.table_text import cells, explanations, formatted, notes


def methods_page(
    table: pd.DataFrame,
    names: Mapping[str, str],
    digits: int,
    extra_notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> str:
    """The methods table, best and second best marked.

    Args:
        table: of `tatr.report.tables.methods_table`, or the means over seeds.
        names: display names of tasks.
        digits: decimals.
        extra_notes: notes to add to those on the rows' marks.
        warnings: what a reader must not miss.
    """
    text = formatted(table, names, digits, {0: "{}", 1: "★ {}", 2: "☆ {}"})
    marks = "★: the best merge of a column, ☆: the second best, whatever the intervals; of differences, ★ where the "
    marks += "interval excludes zero"
    return page(
        "Test accuracy in %",
        cells(text),
        1,
        warnings=warnings,
        notes=[marks, *explanations(table), *notes(table), *extra_notes],
    )


def search_page(searched: pd.DataFrame) -> str:
    """What was tried on validation, by row.

    Args:
        searched: of `tatr.report.tables.search_table`; of several seeds with a column of them in front.
    """
    lines = [["Method", *(["seed"] if "seed" in searched else []), "τ", "λ", "validation, %", "chosen"]]
    for candidate in searched.to_dict("records"):
        seed = [str(candidate["seed"])] if "seed" in searched else []
        tau = "" if pd.isna(candidate["tau"]) else f"{100 * candidate['tau']:g} %"
        figures = [tau, f"{candidate['coefficient']:g}", f"{candidate['validation']:.1f}"]
        lines.append([candidate["method"], *seed, *figures, "✓" if candidate["taken"] else ""])
    nothing = [] if len(searched) else ["No row chooses λ or τ on validation."]
    return page("Tried on validation", lines, 1, notes=nothing)
