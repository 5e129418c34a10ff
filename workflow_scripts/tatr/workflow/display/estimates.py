"""How long jobs take and how much disk their results need, by what earlier jobs of the same rule needed."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

NEWEST = 8
"""So many of a rule's results are looked at for the disk space that one needs."""

DIGEST = re.compile(r"-[0-9a-f]{12}$")
"""At the end of an artefact's name."""


def label_of(name: str) -> str:
    """An artefact's name without its digest."""
    return DIGEST.sub("", name)


def seconds_in(record: Path) -> float | None:
    """The run time in a benchmark record of Snakemake's; None if there is none."""
    try:
        with record.open(encoding="utf-8", newline="") as file:
            return float([*csv.DictReader(file, delimiter="\t")][-1]["s"])
    except (OSError, ValueError, KeyError, IndexError):
        return None


@dataclass(frozen=True)
class Estimates:
    """What jobs needed before, by the records in `results/benchmarks` and the results beside them."""

    results: Path = Path("results")
    _seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def seconds(self, rule: str, label: str = "") -> float | None:
        """The median of earlier jobs of this label, or of all of this rule; None if there were none."""
        earlier = self._of_rule(rule)
        found = earlier.get(label) or [value for values in list(earlier.values()) for value in values]
        return median(found) if found else None

    def add(self, rule: str, label: str, seconds: float) -> None:
        """Take down what a job of this run took; what others took before counts no more for this label."""
        self._of_rule(rule)[label] = [seconds]

    def bytes(self, rule: str) -> float | None:
        """Disk space of a rule's results, the median of some; None if there are none."""
        folders = [path.parent for path in (self.results / rule).glob("*/manifest.json")]
        folders = sorted(folders, key=lambda folder: folder.stat().st_mtime)[-NEWEST:]
        return median(map(_size, folders)) if folders else None

    def _of_rule(self, rule: str) -> dict[str, list[float]]:
        if rule not in self._seconds:
            found: dict[str, list[float]] = {}
            for record in sorted((self.results / "benchmarks" / rule).glob("*.tsv")):
                if (seconds := seconds_in(record)) is not None:
                    found.setdefault(label_of(record.stem), []).append(seconds)
            self._seconds[rule] = found
        return self._seconds[rule]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
