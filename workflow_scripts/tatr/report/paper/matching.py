"""Which rows of our tables match rows of the paper's tables. Only the plan uses this, no job."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tatr.report.paper.printed import Row, coinciding, rows

ANY = "any"
"""Stands for every value of a setting that the paper does not state."""

FIXED_TAU = "fixed_tau"
"""The footnote of rows whose τ was not tuned."""


@dataclass(frozen=True)
class Match:
    """A row of the paper that one of our rows is compared with; table settings hold its `dataclasses.asdict`."""

    table: int
    method: str
    """What the paper calls the row."""
    accuracies: dict[str, float]
    """What it prints, in percent, by task as the paper calls it."""
    average: float
    notes: tuple[str, ...]
    """Keys of its footnotes, out of `coinciding()["notes"]`."""
    unseen_average: float | None = None
    """Of the tasks that are not merged, if there are some and it can be read."""


def openai_backbone(model: str, weights: str | None) -> str | None:
    """What published tables call a backbone of theirs, or None.

    Args:
        model: open_clip's name of the model; with or without "-quickgelu", which OpenAI's weights need anyway.
        weights: open_clip's tag of the pre-trained weights. Published tables' are OpenAI's.
    """
    name = model.removesuffix("-quickgelu")
    return name if weights == "openai" and name in coinciding()["backbones"].values() else None


def paper_backbone(model: str, weights: str | None, tasks: Iterable[str | None]) -> str | None:
    """The paper's backbone that a configuration uses on the paper's eight tasks, merged or not, or None.

    Args:
        model: as in `openai_backbone`.
        weights: as in `openai_backbone`.
        tasks: what the paper calls each task that is evaluated, in any order; None for one that it does not have.
    """
    same_tasks = sorted(task or "" for task in tasks) == sorted(coinciding()["tasks"])
    return openai_backbone(model, weights) if same_tasks else None


def paper_row(merge: Mapping[str, Any], backbone: str, unseen: Iterable[str] = ()) -> Match | None:
    """The paper's row of a merge on the eight tasks, if there is one.

    Args:
        merge: `method`; `settings` (the method's, all of them); `coefficients` (candidates for λ); `trust_region`
            (None or `sensitivity`, `taus`, [None] where it takes none, `exemplars`, None where it uses none); `surgery`
            (None or all its settings).
        backbone: of `paper_backbone`.
        unseen: which of the tasks, as the paper calls them, are evaluated but not merged.
    """
    region = merge.get("trust_region")
    taus = [tau for tau in region["taus"] if tau is not None] if region else []
    grid = coinciding()["taus"]
    if taus and sorted(taus) != grid and not (len(taus) == 1 and taus[0] in grid):
        return None
    for entry in coinciding()["rows"]:
        same_split = sorted(entry.get("unseen", ())) == sorted(unseen)
        described = "merge" in entry and same_split and _describes(entry["merge"], merge)
        if described and (row := _printed(entry, backbone)):
            return _match(row, (FIXED_TAU,) if len(taus) == 1 else ())
    return None


def reference_row(name: str, backbone: str) -> Match | None:
    """The paper's row of a reference on the eight tasks: Pre-trained, Individual or Traditional MTL."""
    entries = (entry for entry in coinciding()["rows"] if entry.get("reference") == name)
    row = next((row for entry in entries if (row := _printed(entry, backbone))), None)
    return None if row is None else _match(row)


def individual(backbone: str) -> dict[str, float]:
    """What the paper's individual models reach, in percent, by task as the paper calls it."""
    match = reference_row("Individual", backbone)
    return match.accuracies if match else {}


def comparison(backbone: str, names: Mapping[str, str], matches: Iterable[Match]) -> dict[str, Any]:
    """What table settings say of the comparison as a whole, under `paper`.

    Args:
        backbone: of `paper_backbone`.
        names: what the paper calls each task that is evaluated.
        matches: of all rows that have one.

    Returns:
        `backbone`, `names`, `columns` (per task of the paper, keys of footnotes) and `notes` (per key, the footnote;
        only those that occur).
    """
    columns: dict[str, list[str]] = coinciding()["columns"]
    keys = {key for notes in columns.values() for key in notes} | {key for match in matches for key in match.notes}
    texts = {key: text for key, text in coinciding()["notes"].items() if key in keys}
    return {"backbone": backbone, "names": dict(names), "columns": columns, "notes": texts}


def _describes(wanted: Mapping[str, Any], merge: Mapping[str, Any]) -> bool:
    region = merge.get("trust_region")
    chosen = None if region is None else {key: region.get(key) for key in ("sensitivity", "exemplars")}
    return (
        wanted["method"] == merge["method"]
        and _same_settings(wanted["settings"], merge["settings"])
        and wanted["coefficients"] == [*merge["coefficients"]]
        and wanted.get("trust_region") == chosen
        and wanted.get("surgery") == merge.get("surgery")
    )


def _same_settings(wanted: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    # A new setting makes it another method until the data lists the setting, too.
    return wanted.keys() == settings.keys() and all(w in (ANY, settings[key]) for key, w in wanted.items())


def _printed(entry: Mapping[str, Any], backbone: str) -> Row | None:
    return next((rows(table)[entry["row"]] for table in _tables(entry["tables"], backbone)), None)


def _tables(tables: Sequence[int], backbone: str) -> Iterator[int]:
    yield from (table for table in tables if coinciding()["backbones"][table] == backbone)


def _match(row: Row, extra_notes: tuple[str, ...] = ()) -> Match:
    return Match(row.table, row.name, row.accuracies, row.average, row.notes + extra_notes, row.unseen_average)
