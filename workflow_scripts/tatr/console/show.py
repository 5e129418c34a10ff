"""Print a methods table on the terminal, best and second best marked, and where its files are."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tatr.console.arguments import parser_of_table

if TYPE_CHECKING:
    import pandas as pd
    import rich.table

FILES = ("methods.csv", "methods.md", "per_seed.csv", "paired.csv", "paper.md")
"""Files of a table that are worth naming, where it has them."""


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    parser = parser_of_table("show", __doc__, prog)
    parser.add_argument("others", nargs="*", type=Path, help="further files worth naming")
    given = parser.parse_args(arguments)

    from rich.console import Console

    from tatr.report import tables
    from tatr.workflow.artefact import Artefact

    artefact = Artefact.open(given.table, "tables")
    content = artefact.manifest.content
    remarks: dict[str, Any] = {"skipped": {}, "warnings": []}  # of a table made before there were any
    if "remarks.json" in content:
        remarks = json.loads((artefact / "remarks.json").read_text())
    console = Console(width=None if Console().is_terminal else 190)
    table = tables.load_table(artefact / "methods.csv")
    console.print(_shown(table, artefact.manifest.settings, remarks["skipped"], narrow=console.width < 180))
    for warning in remarks["warnings"]:
        console.print(f"warning: {warning}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    made = [artefact / name for name in FILES if name in content]
    for path in (*given.others, *made):
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    return 0


def _shown(
    table: "pd.DataFrame", settings: Mapping[str, Any], skipped: Mapping[str, int], *, narrow: bool
) -> "rich.table.Table":
    """The table for a terminal. On a narrow one headings are cut, names folded and tasks' deviations left out."""
    from rich import box
    from rich.table import Table

    from tatr.report import table_text, tables

    tasks = [*settings["tasks"], *settings.get("unseen", ())]
    names = table_text.marked_tasks(tasks, settings["names"], skipped)
    if narrow:
        table = table.drop(columns=[task + tables.DEVIATION for task in tasks], errors="ignore")
    marks = {0: "{}", 1: "[bold green]{}[/]", 2: "[underline]{}[/]"}
    text = table_text.formatted(table, names, settings["digits"], marks)
    footnotes = [*table_text.explanations(table), *table_text.notes(table)]
    footnotes += table_text.skipped_notes(settings["names"], skipped)
    shown = Table(
        box=box.SIMPLE,
        title="Test accuracy in %",
        caption=" · ".join(["green: best merge", "underlined: second best", *footnotes]),
        padding=(0, 0) if narrow else (0, 1),
    )
    shown.add_column("Method", overflow="fold")
    cut = {*names.values()} if narrow else set()
    for column in text.columns:
        shown.add_column(column[:5] if column in cut else column, justify="right", no_wrap=True, min_width=5)
    for index, (name, row) in enumerate(zip(text.index, text.to_numpy().tolist(), strict=True)):
        shown.add_row(str(name), *row, end_section=index == tables.references(table) - 1)
    return shown
