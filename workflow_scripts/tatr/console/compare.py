"""Compare two results: which settings differ, and by how much accuracy, with its interval, paired image by image.

Each is a configuration that was run, a table or an evaluation (its folder or manifest). Of tables and configurations,
rows of the same name are compared: their averages over the tasks that are merged.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tatr.console.arguments import opened, parser_with
from tatr.errors import TatrError

if TYPE_CHECKING:
    from rich.table import Table

    from tatr.measuring.predictions import Predictions
    from tatr.report.statistics import Interval
    from tatr.workflow.artefact import Artefact

BySeed = list[dict[str, "Predictions"]]
"""Predictions per task, of each seed."""

EXAMPLE = """examples:
  tatr compare mine.yaml other.yaml
  tatr compare results/evaluation/task_arithmetic_lambda-0.3-* results/evaluation/weight_average_lambda-1-*"""

EVALUATION = "evaluation"
"""The row that an evaluation by itself makes."""


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    parser = parser_with(EXAMPLE, __doc__, prog)
    parser.add_argument("a", type=Path, metavar="A", help="a configuration, a table or an evaluation")
    parser.add_argument("b", type=Path, metavar="B", help="another one; differences are B − A")
    given = parser.parse_args(arguments)
    try:
        _show(*(opened(path, "tables", "evaluation") for path in (given.a, given.b)))
    except TatrError as error:
        sys.exit(f"error: {error}")
    return 0


def _show(one: "Artefact", other: "Artefact") -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tatr.workflow.provenance import differences, provenance

    if one.manifest.kind != other.manifest.kind:
        raise TatrError(
            f"{one.folder} is of {one.manifest.kind}, {other.folder} of {other.manifest.kind}: give two of a kind"
        )
    console = Console(width=None if Console().is_terminal else 160)
    console.print(f"A: {one.folder}\nB: {other.folder}\n", markup=False, highlight=False, soft_wrap=True)
    settings = differences(provenance(_evaluations(one)), provenance(_evaluations(other)))
    shown = Table("Setting", "A", "B", "of", box=box.SIMPLE)
    for (kind, name, *sides), tasks in settings.items():
        values = [", ".join(map(_short, side)) or "–" for side in sides]
        shown.add_row(*map(escape, [f"{kind}: {name}", *values, ", ".join(tasks)]))
    console.print(shown if settings else "No setting differs.\n")
    rows, others = _rows(one), _rows(other)
    _check_seeds(one, other)
    if {*rows} != {*others} and len(rows) == len(others) == 1:  # two evaluations, whatever they are called
        others = dict(zip(rows, others.values(), strict=True))
    common = [name for name in rows if name in others]
    console.print(_averages({name: (rows[name], others[name]) for name in common}))
    of_several = any(len(rows[name]) > 1 for name in common)
    if len(common) == 1 and not of_several and (by_task := _by_task(rows[common[0]][0], others[common[0]][0])):
        console.print(by_task)
    alone = {"A": [name for name in rows if name not in others], "B": [name for name in others if name not in rows]}
    for side, names in alone.items():
        if names:
            console.print(f"only in {side}: {'; '.join(names)}", markup=False, highlight=False, soft_wrap=True)
    if all(alone.values()):
        console.print("Rows are called by their settings; with a `name` in both, they are compared.", highlight=False)


def _averages(pairs: Mapping[str, tuple[BySeed, BySeed]]) -> "Table":
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from tatr.report.table_text import signed

    caption = "95 %: paired bootstrap over test images"
    if seeds := max((len(side) for pair in pairs.values() for side in pair), default=1) - 1:
        caption = (
            f"means over {seeds + 1} seeds; 95 %: Student t over seeds, or where no seed has a part, {caption[6:]}"
        )
    shown = Table(box=box.SIMPLE, title="Average test accuracy in %", caption=caption)
    shown.add_column("Row", overflow="fold")
    for heading in ("A", "B", "B − A", "95 %"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, (one, other) in pairs.items():
        figures = [f"{100 * _mean_average(side):.2f}" for side in (one, other)]
        try:
            value, low, high = (signed(100 * figure, 2) for figure in _difference(one, other))
        except TatrError as error:
            shown.add_row(escape(name), *figures, "–", escape(str(error)))
        else:
            shown.add_row(escape(name), *figures, value, escape(f"[{low}, {high}]"))
    return shown


def _mean_average(by_seed: BySeed) -> float:
    from tatr.report.statistics import average_accuracy

    return sum(average_accuracy(predictions).value for predictions in by_seed) / len(by_seed)


def _difference(one: BySeed, other: BySeed) -> "Interval":
    """B − A, paired image by image; over several seeds, paired seed by seed."""
    from tatr.report.statistics import average_difference, mean_over_seeds

    seeds = max(len(one), len(other))
    if seeds == 1:
        return average_difference(other[0], one[0])
    pairs = zip(*((side * seeds)[:seeds] for side in (one, other)), strict=True)
    return mean_over_seeds([average_difference(b, a).value for a, b in pairs])


def _by_task(one: Mapping[str, "Predictions"], other: Mapping[str, "Predictions"]) -> "Table | None":
    """None where there are no pairs to compare, which the averages say."""
    from rich import box
    from rich.table import Table

    from tatr.report.statistics import discordances
    from tatr.report.table_text import signed

    shown = Table(box=box.SIMPLE, title="By task", caption="p: McNemar's exact test")
    shown.add_column("Task")
    for heading in ("A", "B", "B − A", "only A right", "only B right", "images", "p"):
        shown.add_column(heading, justify="right", no_wrap=True)
    try:
        pairs = discordances(other, one)
    except TatrError:
        return None
    for task, pair in pairs.items():
        figures = [f"{100 * side[task].right.mean():.2f}" for side in (one, other)]
        counts = [f"{count:,}" for count in (pair.lost, pair.gained, pair.images)]
        shown.add_row(task, *figures, signed(100 * pair.difference, 2), *counts, f"{pair.p_value:.2g}")
    return shown


def _rows(artefact: "Artefact") -> dict[str, BySeed]:
    """Predictions per row: of each seed, or only one where all are the same."""
    from tatr.measuring.predictions import FILE, load_predictions

    by_name = {given.manifest.name: load_predictions(given / FILE) for given in _evaluations(artefact)}
    settings = artefact.manifest.settings
    if artefact.manifest.kind == "evaluation":
        settings = {**settings, "rows": [{"name": EVALUATION, "evaluations": [artefact.manifest.name]}]}
    unseen, found = settings.get("unseen", ()), {}
    for of_row in zip(*(each["rows"] for each in settings.get("seeds", [settings])), strict=True):
        distinct = dict.fromkeys(tuple(row["evaluations"]) for row in of_row)
        found[of_row[0]["name"]] = [
            {task: its for name in names for task, its in by_name[name].items() if task not in unseen}
            for names in distinct
        ]
    return found


def _check_seeds(one: "Artefact", other: "Artefact") -> None:
    sides = [[each["seed"] for each in side.manifest.settings.get("seeds", ())] for side in (one, other)]
    if sides[0] != sides[1]:
        seeds = [f"the seeds {', '.join(map(str, side))}" if side else "one seed" for side in sides]
        raise TatrError(f"A has {seeds[0]}, B {seeds[1]}: no pairs to compare; give two results of the same seeds")


def _evaluations(artefact: "Artefact") -> "list[Artefact]":
    from tatr.workflow.provenance import made_by

    if artefact.manifest.kind == "evaluation":
        return [artefact]
    return [given for role in ("references", "merges") for given in made_by(artefact, role)]


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
