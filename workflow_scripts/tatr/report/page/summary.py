"""What a run found, in five sentences."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from tatr.report.statistics import Interval
from tatr.report.table_text import rounded, signed
from tatr.report.tables import SEEDS, references


def sentences(table: pd.DataFrame, settings: Mapping[str, Any], backbone: str, warnings: Sequence[str]) -> list[str]:
    """What was merged, from where to where, the best training-free row, what trust regions add, warnings.

    Args:
        table: of `tatr.report.tables.methods_table`, or the means over seeds.
        settings: of the table: `tasks`, `names`, `digits`.
        backbone: what the pre-trained model is called.
        warnings: what a reader must not miss.
    """
    digits = settings["digits"]
    merges = table.iloc[references(table) :]
    found = [
        _merged(table, settings, backbone),
        _range(table, digits),
        _best(merges, digits),
        _added(merges, digits),
        _warned(warnings),
    ]
    return [sentence.replace(" %", "\N{NO-BREAK SPACE}%") for sentence in found]


def best_training_free(table: pd.DataFrame) -> str | None:
    """The row of the best average among merges that learn nothing from unlabelled images; None if all do."""
    merges = table.iloc[references(table) :]
    free = merges[merges["unlabelled"] == ""]
    return str(free["average"].idxmax()) if len(free) else None


def _merged(table: pd.DataFrame, settings: Mapping[str, Any], backbone: str) -> str:
    tasks = [settings["names"].get(task, task) for task in settings["tasks"]]
    rows = len(table) - references(table)
    ways = "one way" if rows == 1 else f"{rows} ways"
    seeds = f", each with {table[SEEDS].max()} seeds" if SEEDS in table else ""
    unseen = [settings["names"].get(task, task) for task in settings.get("unseen", ())]
    further = f"; {_listed(unseen)} {'is' if len(unseen) == 1 else 'are'} evaluated but not merged" if unseen else ""
    return (
        f"{len(tasks)} individual models of {backbone} ({_listed(tasks)}) were merged into one model in {ways}"
        f"{seeds}{further}."
    )


def _range(table: pd.DataFrame, digits: int) -> str:
    above = references(table)
    stated = [f"{rounded(value, digits)} % ({name})" for name, value in table["average"].iloc[:above].items()]
    merges = table["average"].iloc[above:]
    lowest, highest = rounded(merges.min(), digits), rounded(merges.max(), digits)
    reached = f"{highest} %" if lowest == highest else f"{lowest} to {highest} %"
    return f"Averaged over tasks, test accuracy is {_listed(stated)}; {_counted(len(merges), 'merge')} {reached}."


def _best(merges: pd.DataFrame, digits: int) -> str:
    name = best_training_free(merges)
    if name is None:
        return "Every merge learns from unlabelled images, so there is no training-free one to name."
    row = _row(merges, name)
    low, high = row["average_low"], row["average_high"]
    interval = f" (95 % interval {rounded(low, digits)} to {rounded(high, digits)})" if low == low else ""
    rivals = int((merges["unlabelled"] == "").sum())
    chosen = f", the highest of {rivals}, so a little flattered by the choice" if rivals > 1 else ""
    return f"The best training-free merge is {name} with {rounded(row['average'], digits)} %{interval}{chosen}."


def _added(merges: pd.DataFrame, digits: int) -> str:
    paired = merges[merges["difference"].notna()]
    if paired.empty:
        return "No row inside a trust region has the same row without one to compare with."
    name = str(paired["difference"].abs().idxmax())
    largest = _row(paired, name)
    figures = [largest[key] for key in ("difference", "difference_low", "difference_high")]
    value, low, high = (signed(figure, digits) for figure in figures)
    gain = f"{value} points [{low}, {high}]" if figures[1] == figures[1] else f"{value} points"
    told = Interval(*figures).excludes_zero
    certainty = "significant (its 95 % interval excludes zero)" if told else "not significant (zero is not excluded)"
    if len(paired) == 1:
        return f"The trust region of {name} changes the average by {gain}, which is {certainty}."
    better, worse = int((paired["difference_low"] > 0).sum()), int((paired["difference_high"] < 0).sum())
    return (
        f"Of {len(paired)} rows inside a trust region, {better} are significantly better and {worse} significantly "
        f"worse than the same row without one; the largest change, {gain} of {name}, is {certainty}."
    )


def _warned(warnings: Sequence[str]) -> str:
    if not warnings:
        return "There are no warnings."
    return "There is one warning, below." if len(warnings) == 1 else f"There are {len(warnings)} warnings, below."


def _row(table: pd.DataFrame, name: str) -> Mapping[Hashable, Any]:
    """The first row of a name."""
    return table[table.index == name].to_dict("records")[0]


def _counted(count: int, noun: str) -> str:
    return f"the {noun} reaches" if count == 1 else f"the {noun}s reach"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
