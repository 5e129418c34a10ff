"""Published averages next to ours: a line per figure, with its set of checkpoints and its source."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tatr.measuring.checkpoint_sets import sentence
from tatr.report.html_page import page
from tatr.report.markdown import table as markdown_table
from tatr.report.markdown import with_remarks
from tatr.report.table_text import rounded, signed

COLUMNS = (
    *("method", "set", "row", "settings", "source", "certainty"),
    *("published", "published_normalised", "ours", "ours_normalised", "difference"),
)

HEADING = ("Row", "Checkpoints", "Published as", "Source", "published, %", "ours, %", "difference")

WORDS = 4
"""Columns of the text, from the left, that hold words and not figures."""

MATCHED_BY = (
    "Rows are those of the same method, backbone and tasks; settings may differ: those of the published row stand "
    "beside it. In brackets: each task's accuracy as a share of its individual model's, averaged over tasks."
)

LEAK = (
    "TALL-masks' model of DTD has test images among its training images: this lifts Individual's average over 8 tasks "
    "by about 2.4 points (ViT-B/32), and merged models with it."
)


def compare(table: pd.DataFrame, rows: Sequence[Mapping[str, Any]], only: str | None = None) -> pd.DataFrame:
    """Compare our averages with published ones.

    Args:
        table: of `tatr.report.tables.methods_table`.
        rows: of the table, in order: `name` and, where there are published averages, `published`: those of
            `tatr.report.published.averages.published`, as dicts.
        only: the set of checkpoints whose figures are wanted; None for all sets.

    Returns:
        A line per published average: `method` (our row), `set`, `row` (as its source calls it), `settings`, `source`,
        `certainty`, `published`, `published_normalised`, `ours`, `ours_normalised` in percent (normalised ones NaN
        where unknown), and `difference` of the averages in points.
    """
    lines = []
    averages = zip(table["average"], table["normalised"], strict=True)
    for row, (average, normalised) in zip(rows, averages, strict=True):
        for figure in row.get("published", ()):
            if only in (None, figure["set"]):
                words = {key: figure[key] for key in ("set", "row", "settings", "source", "certainty")}
                theirs = {"published": figure["average"], "published_normalised": figure["normalised"]}
                ours = {"ours": average, "ours_normalised": normalised, "difference": average - figure["average"]}
                lines.append({"method": row["name"], **words, **theirs, **ours})
    return pd.DataFrame(lines, columns=[*COLUMNS])


def files(
    table: pd.DataFrame, settings: Mapping[str, Any], found: Mapping[str, Any] | None, warnings: Sequence[str]
) -> dict[str, str]:
    """The comparison as files: per name the text.

    Args:
        table: of `tatr.report.tables.methods_table`.
        settings: of the table: `rows`, `digits`, and `published`: the `backbone` and the `suite`.
        found: of `tatr.measuring.checkpoint_sets.likened`, if the individual models were compared with the sets.
        warnings: shown above everything else.
    """
    compared = compare(table, settings["rows"], found["nearest"] if found and found["matched"] else None)
    lines, below = as_text(compared, settings["digits"]), notes(compared, found)
    written = markdown_table(lines, "l" * WORDS + "r" * (len(HEADING) - WORDS))
    about = settings["published"]
    title = f"Average accuracy in %: published for {about['backbone']}, {about['suite']}, next to this run"
    return {
        "published.csv": compared.to_csv(index=False),
        "published.md": with_remarks(written, warnings, below),
        "published.html": page(title, lines, WORDS, warnings=warnings, notes=below),
        "published.json": json.dumps({"notes": below}, indent=1) + "\n",
    }


def as_text(compared: pd.DataFrame, digits: int) -> list[list[str]]:
    """The heading and the lines of a comparison, each a list of cells."""
    lines, before = [[*HEADING]], ""
    for line in compared.to_dict("records"):
        row = f"{line['row']} ({line['settings']})" if line["settings"] else str(line["row"])
        words = ["" if line["method"] == before else str(line["method"]), str(line["set"]), row]
        figures = [_with_share(line[key], line[f"{key}_normalised"], digits) for key in ("published", "ours")]
        source = f"{line['source']}, {line['certainty']}"
        lines.append([*words, source, *figures, signed(line["difference"], digits)])
        before = line["method"]
    return lines


def notes(compared: pd.DataFrame, found: Mapping[str, Any] | None) -> list[str]:
    """What stands under a comparison: whose checkpoints its figures are of, and how rows were matched.

    Args:
        compared: of `compare`.
        found: as in `files`.
    """
    if found and found["matched"]:
        which = [sentence(found), "Only figures of these are shown.", *([] if len(compared) else ["There are none."])]
    else:
        differ = "The sets of checkpoints differ: one method's averages by up to five points. Compare within a set."
        which = [sentence(found), differ] if found else [differ]
    return [" ".join(which), MATCHED_BY, *([LEAK] if (compared["set"] == "TALL-masks").any() else [])]


def _with_share(average: float, normalised: float, digits: int) -> str:
    share = "" if pd.isna(normalised) else f" ({rounded(normalised, digits)})"
    return rounded(average, digits) + share
