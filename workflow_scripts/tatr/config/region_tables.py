"""What trust regions add to each merge of a configuration, as tables of the docs: made from its results."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tatr.config.loading import expand
from tatr.config.merges import Merge, TrustRegion
from tatr.config.written import read_yaml
from tatr.report.markdown import table as markdown_table
from tatr.report.statistics import Interval
from tatr.report.table_text import rounded, signed
from tatr.report.tables import load_table

CONTROLS = ("random", "magnitude", "slope")
"""Sensitivities of regions that leave parameters out for another reason than the paper's."""


def region_tables(config: Path, results: Path) -> dict[str, str]:
    """Markdown of two tables: `regions`, those of the paper, and `controls`, beside them.

    Args:
        config: whose merges are compared, each with the same one without a trust region.
        results: its methods table, as CSV.
    """
    merges = merges_of(config)
    table = load_table(results)
    measured = [merge for merge in merges if merge.row_name in table.index]
    controlled = {merge.but_for_region for merge in measured if _is_of(merge, CONTROLS)}
    beside = [merge for merge in measured if merge.but_for_region in controlled]
    others = [merge for merge in measured if not _is_of(merge, CONTROLS)]
    return {"regions": _table(others, table), "controls": _table(beside, table)}


def _table(merges: Sequence[Merge], table: pd.DataFrame) -> str:
    """A line per merge without a region and with a row in one; a column per region, by sensitivity and τ."""
    given = [merge.trust_region for merge in merges if merge.trust_region]
    kinds = [*dict.fromkeys(region.sensitivity for region in given)]
    given.sort(key=lambda region: (kinds.index(region.sensitivity), len(region.taus), region.taus[0] or 0))
    regions = [*dict.fromkeys(map(_heading, given))]
    cells: dict[str, dict[str, str]] = {}
    for merge in merges:
        if merge.trust_region:
            row = row_of(table, merge.row_name)
            change = Interval(*(row[f"difference{end}"] for end in ("", "_low", "_high")))
            cells.setdefault(merge.but_for_region, {})[_heading(merge.trust_region)] = _cell(change)
    lines = [["merge", "without", *regions]]
    for merge in merges:
        if not merge.trust_region and (changes := cells.get(merge.but_for_region)):
            lines.append(
                [
                    merge.row_name,
                    average_of(row_of(table, merge.row_name)),
                    *(changes.get(region, "") for region in regions),
                ]
            )
    return markdown_table(lines, "l" + "r" * (len(regions) + 1))


def merges_of(config: Path) -> list[Merge]:
    """The rows that a configuration's `merges` stand for."""
    return [Merge.model_validate(row) for entry in read_yaml(config)["merges"] for row in expand(entry)]


def average_of(row: Mapping[str, Any]) -> str:
    """Of a row's accuracies, in %; over several seeds with its standard deviation."""
    spread = f" ± {rounded(row['average_sd'], 1)}" if "average_sd" in row else ""
    return f"{rounded(row['average'], 1)}{spread}"


def row_of(table: pd.DataFrame, name: str) -> dict[str, Any]:
    """A row of a methods table, by its columns."""
    return {str(column): value for column, value in table.loc[name].items()}


def _is_of(merge: Merge, sensitivities: Collection[str]) -> bool:
    return merge.trust_region is not None and merge.trust_region.sensitivity in sensitivities


def _heading(region: TrustRegion) -> str:
    taus = [tau for tau in region.taus if tau is not None]
    return f"{region.made_by.title}, " + (f"τ {100 * taus[0]:g} %" if len(taus) == 1 else "τ on validation")


def _cell(change: Interval) -> str:
    if change.value != change.value:  # NaN: the table has no such pair
        return ""
    value, low, high = (signed(figure, 1) for figure in change)
    return f"{f'**{value}**' if change.excludes_zero else value} [{low}, {high}]"
