"""Print a methods table on the terminal, best and second best marked, and where its files are."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog="example: python workflow_scripts/show.py results/tables/demo-*/manifest.json",
    )
    parser.add_argument("table", type=Path, help="the table's manifest")
    parser.add_argument("others", nargs="*", type=Path, help="further files worth naming")
    given = parser.parse_args(arguments)

    from rich import box
    from rich.console import Console
    from rich.table import Table

    from tatr.report import tables
    from tatr.workflow.artefact import Artefact

    artefact = Artefact.open(given.table, "tables")
    settings = artefact.manifest.settings
    content = artefact.manifest.content
    remarks: dict[str, Any] = {"skipped": {}, "warnings": []}  # of a table made before there were any
    if "remarks.json" in content:
        remarks = json.loads((artefact / "remarks.json").read_text())
    table = tables.load_table(artefact / "methods.csv")
    marks = {0: "{}", 1: "[bold green]{}[/]", 2: "[underline]{}[/]"}
    tasks = [*settings["tasks"], *settings.get("unseen", ())]
    names = tables.marked_tasks(tasks, settings["names"], remarks["skipped"])
    text = tables.formatted(table, names, settings["digits"], marks)
    console = Console(width=None if Console().is_terminal else 190)
    narrow = console.width < 180  # then headings are cut and names folded, but never a number
    footnotes = [*tables.explanations(table), *tables.notes(table)]
    footnotes += tables.skipped_notes(settings["names"], remarks["skipped"])
    shown = Table(
        box=box.SIMPLE,
        title="Test accuracy in %",
        caption=" · ".join(["green: best merge", "underlined: second best", *footnotes]),
        padding=(0, 0) if narrow else (0, 1),
    )
    shown.add_column("Method", overflow="fold")
    for column in text.columns:
        shown.add_column(
            column[:5] if narrow and column in names.values() else column, justify="right", no_wrap=True, min_width=5
        )
    for index, (name, row) in enumerate(zip(text.index, text.to_numpy().tolist(), strict=True)):
        shown.add_row(str(name), *row, end_section=index == tables.references(table) - 1)
    console.print(shown)
    for warning in remarks["warnings"]:
        console.print(f"warning: {warning}", style="bold red", markup=False, highlight=False, soft_wrap=True)
    made = [
        artefact / name
        for name in ("methods.csv", "methods.md", "per_seed.csv", "paired.csv", "paper.md")
        if name in content
    ]
    for path in (*made, *given.others):
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    return 0
