"""What the paper prints: Tables 1 to 6, one CSV file each, in this folder."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """A row of one of the paper's tables."""

    table: int
    name: str
    """As the paper calls it, with an addition where several rows have the same name."""
    accuracies: dict[str, float]
    """In percent, by task as the paper calls it."""
    average: float
    """As printed, which is not always the mean of `accuracies`; in Table 4 of the tasks that are merged."""
    notes: tuple[str, ...]
    """Footnotes: keys of `coinciding()["notes"]`."""
    unseen_average: float | None = None
    """Of the tasks that are evaluated but not merged, in Table 4; None where it can't be read."""


@cache
def rows(table: int) -> dict[str, Row]:
    """One of the paper's tables, by row's name, in its order."""
    with (FOLDER / f"table_{table}.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return {
        line["row"]: Row(
            table,
            line["row"],
            {task: float(line[task]) for task in coinciding()["tasks"]},
            float(line["average"] if "average" in line else line["seen_average"]),
            tuple(line["notes"].split()),
            float(line["unseen_average"]) if line.get("unseen_average") else None,
        )
        for line in lines
    }


@cache
def coinciding() -> dict[str, Any]:
    """What `coinciding.yaml` says: backbones, tasks, the grid of τ, rows and footnotes."""
    data: dict[str, Any] = yaml.safe_load((FOLDER / "coinciding.yaml").read_text(encoding="utf-8"))
    return data
