"""Print a methods table, best and second best marked; on a terminal it fits the width."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tatr.console.arguments import opened, parser_of_table
from tatr.errors import TatrError

if TYPE_CHECKING:
    import pandas as pd
    import rich.table

UNMARKED = {0: "{}", 1: "{}", 2: "{}"}
STYLED = {0: "{}", 1: "[bold green]{}[/]", 2: "[underline]{}[/]"}
PLAIN = {0: "{}", 1: "{}*", 2: "{}+"}
"""How other figures, the best and the second best are written: bare, with styles, and where there are none."""

WIDE = 10_000
"""Characters in a line of what is no terminal: lines are as long as they need to be."""


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    given = parser_of_table("show", __doc__, prog).parse_args(arguments)

    from rich.console import Console

    from tatr.report import tables

    try:
        artefact = opened(given.table, "tables")
    except TatrError as error:
        sys.exit(f"error: {error}")
    content = artefact.manifest.content
    remarks: dict[str, Any] = {"skipped": {}, "warnings": []}  # of a table made before there were any
    if "remarks.json" in content:
        remarks = json.loads((artefact / "remarks.json").read_text(encoding="utf-8"))
    console = Console(width=None if Console().is_terminal else WIDE, highlight=False)
    table, settings = tables.load_table(artefact / "methods.csv"), artefact.manifest.settings
    shown, notes = _shown(table, settings, remarks["skipped"], console.width, styled=console.is_terminal)
    console.print(shown)
    console.print(*notes, sep="\n", markup=False, style="dim")
    for warning in remarks["warnings"]:
        console.print(f"warning: {warning}", style="bold red", markup=False)
    return 0


def _shown(
    table: "pd.DataFrame", settings: Mapping[str, Any], skipped: Mapping[str, int], width: int, *, styled: bool
) -> "tuple[rich.table.Table, list[str]]":
    """The table in a width, and what is to be said under it."""
    from rich import box
    from rich.table import Table

    from tatr.report import fitting, table_text, tables

    tasks = [*settings["tasks"], *settings.get("unseen", ())]
    names = table_text.marked_tasks(tasks, settings["names"], skipped)
    marks = UNMARKED if styled else PLAIN
    plain = table_text.formatted(table, names, settings["digits"], marks)
    if tables.SEEDS in table and _width(plain) > width:  # the means before anything else
        table = table.drop(columns=[task + tables.DEVIATION for task in tasks], errors="ignore")
        plain = table_text.formatted(table, names, settings["digits"], marks)
    headings, average = [*map(str, plain.columns)], [*tables.accuracies(table)].index("average")
    cells = [max(map(len, plain.iloc[:, place])) for place in range(len(headings))]
    gap = 2 if _width(plain) <= width else 1
    fit = fitting.fitted([*map(str, plain.index)], [*zip(headings, cells, strict=True)], width, gap, [average])
    text = table_text.formatted(table, names, settings["digits"], STYLED) if styled else plain
    # The box puts one space between columns.
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), pad_edge=False, show_edge=False)
    shown.add_column("Test accuracy in %", no_wrap=True)
    for heading in fit.headings.values():
        shown.add_column(heading, justify="right", no_wrap=True)
    for index, (name, row) in enumerate(zip(fit.names, text.to_numpy().tolist(), strict=True)):
        last = index == tables.references(table) - 1
        shown.add_row(name, *(row[place] for place in fit.headings), end_section=last)
    left_out = [heading for place, heading in enumerate(headings) if place not in fit.headings]
    return shown, [*_notes(table, settings, skipped, left_out, styled=styled)]


def _notes(
    table: "pd.DataFrame",
    settings: Mapping[str, Any],
    skipped: Mapping[str, int],
    left_out: Sequence[str],
    *,
    styled: bool,
) -> Iterator[str]:
    from tatr.report import table_text

    best, second = ("bold", "underlined") if styled else ("*", "+")
    zero = "; of differences, where the interval excludes zero" if table["difference"].notna().any() else ""
    yield f"{best}: best merge{zero}; {second}: second best"
    meant = table_text.explanations(table)
    yield from (line for line in meant if line.partition(":")[0] not in left_out)
    yield from table_text.notes(table)
    yield from table_text.skipped_notes(settings["names"], skipped)
    if left_out:
        yield f"not shown in this width: {', '.join(left_out)}"


def _width(text: "pd.DataFrame") -> int:
    columns = [max(len(str(heading)), *map(len, text.iloc[:, place])) for place, heading in enumerate(text.columns)]
    return max(map(len, map(str, text.index))) + sum(2 + width for width in columns)
