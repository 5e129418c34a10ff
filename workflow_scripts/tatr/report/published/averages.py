"""Published averages of merging methods, and which of our rows have one. Only the plan uses this, no job."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

INDIVIDUAL = "individual"
"""Stands in `averages.csv` where merges have their method."""


@dataclass(frozen=True)
class Published:
    """A published average that one of our rows stands beside; table settings hold its `dataclasses.asdict`."""

    set: str
    """Of which checkpoints it is."""
    row: str
    """What its source calls the method."""
    settings: str
    """λ and other settings in words, as far as they are known."""
    average: float
    """In percent."""
    normalised: float | None
    """The mean of the shares in the individual models' accuracies, in percent; None where none is published."""
    source: str
    certainty: str
    """authors' table, others' table (the table of another method's authors), or second hand."""


def published(merge: Mapping[str, Any], backbone: str, tasks: int) -> list[Published]:
    """The published averages of a merge on one of the suites, or of the individual models.

    Methods must be the same; settings only where `averages.csv` lists them under `only`, as of these methods several
    forms are in use.

    Args:
        merge: `method` (or `INDIVIDUAL`); `settings` (the method's, all of them); `coefficients` (candidates for λ);
            `calibration` (its name, or an empty text).
        backbone: as in `sets.individual_models`.
        tasks: how many the suite has: 8, 14 or 20.
    """
    wanted = {"backbone": backbone, "tasks": str(tasks)}
    wanted |= {key: merge[key] for key in ("method", "calibration")}
    coefficients = merge["coefficients"]
    settings = {**merge["settings"], "coefficient": coefficients[0] if len(coefficients) == 1 else coefficients}
    lines = [line for line in all_lines() if wanted.items() <= line.items()]
    return [_published(line) for line in lines if recipe(line["only"]).items() <= settings.items()]


@cache
def all_lines() -> tuple[dict[str, str], ...]:
    """The lines of `averages.csv`."""
    with (Path(__file__).parent / "averages.csv").open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def recipe(only: str) -> dict[str, Any]:
    """Settings that are written as `key=value key=value`; `coefficient` is λ."""
    pairs = (pair.partition("=") for pair in only.split())
    return {key: yaml.safe_load(value) for key, _, value in pairs}


def _published(line: Mapping[str, str]) -> Published:
    average, normalised = float(line["average"]), float(line["normalised"]) if line["normalised"] else None
    words = {key: line[key] for key in ("set", "row", "settings", "source", "certainty")}
    return Published(average=average, normalised=normalised, **words)
