"""The table of all methods: what people wrote of each, and beside it its cost and its accuracies, as measured."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from tatr.config.merges import Merge, Search
from tatr.config.region_tables import average_of, merges_of, row_of
from tatr.merging.methods import names
from tatr.report.tables import load_table

MODELS = {"ViT-B-32": "B/32", "ViT-L-14": "L/14"}
"""Whose costs are listed if they were measured: as the rehearsal calls them, and as the table does."""

ACCURACIES = ["tiny8", "tuned", "in a region"]
"""Headings of the last columns that are written here. The first five are people's."""

NAME = re.compile(r"\[`(\w+)`\]\(methods/")


def with_figures(page: str, config: Path, results: Path, costs: Path) -> str:
    """A page with the figures of each method in the table that lists them all.

    Args:
        page: Markdown with a table whose rows begin with a link to a method's page.
        config: whose merges `results` has.
        results: its methods table, as CSV.
        costs: what `benchmarks/rehearsal.py --csv` wrote.

    Raises:
        ValueError: a method has no row in the page's table.
    """
    merges, table = merges_of(config), load_table(results)
    measured = [*csv.DictReader(costs.read_text(encoding="utf-8").splitlines())]
    models = [model for model in MODELS if any(step["model"] == model for step in measured)]
    headings = [*(f"{MODELS[model]}: s, MiB" for model in models), *ACCURACIES]
    lines, found = page.split("\n"), set[str]()
    for number, line in enumerate(lines):
        if match := NAME.match(line.removeprefix("| ")):
            found.add(match[1])
            cells = [_cost(measured, model, match[1]) for model in models]
            lines[number] = _row(line, [*cells, *_accuracies(merges, match[1], table)])
        elif line.startswith("| method | direction v"):
            lines[number] = _row(line, headings)
        elif line.startswith("|---") and lines[number - 1].endswith(f"{ACCURACIES[-1]} |"):
            lines[number] = f"{'|'.join(line.split('|')[:6])}|{'---:|' * len(headings)}"
    if missing := {*names()} - found:
        raise ValueError(f"the table of all methods lacks {', '.join(sorted(missing))}")
    return "\n".join(lines)


def _row(line: str, figures: Sequence[str]) -> str:
    return f"{' | '.join(line.split(' | ')[:5]).removesuffix(' |')} | {' | '.join(figures)} |"


def _cost(measured: Sequence[Mapping[str, str]], model: str, method: str) -> str:
    """Seconds and MiB of a merge; of a model of which some blocks were measured, the seconds of all."""
    for step in measured:
        if (step["model"], step["step"]) == (model, f"merge: {method}"):
            seconds = float(step["seconds"]) * int(step["of"]) / int(step["blocks"])
            return f"{seconds:.0f}, {step['peak_mib']}"
    return ""


def _accuracies(merges: Sequence[Merge], method: str, table: pd.DataFrame) -> list[str]:
    """Averages in %: as published, with λ chosen on validation, and with λ and τ chosen so."""
    of_method = [m for m in merges if m.method == method and not m.calibration and not m.surgery]
    of_method = sorted((m for m in of_method if m.row_name in table.index), key=lambda m: len(m.changed_settings))

    def average(wanted: Callable[[Merge], bool]) -> str:
        rows = (row_of(table, merge.row_name) for merge in filter(wanted, of_method))
        return next((average_of(row) for row in rows), "")

    def searched(merge: Merge) -> bool:
        return isinstance(merge.coefficient, Search)

    def in_region(merge: Merge) -> bool:
        return merge.trust_region is not None and merge.trust_region.sensitivity == "gradient" and len(merge.taus) > 1

    return [
        average(lambda merge: not searched(merge) and merge.trust_region is None),
        average(lambda merge: searched(merge) and merge.trust_region is None),
        average(lambda merge: searched(merge) and in_region(merge)),
    ]
