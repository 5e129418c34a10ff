"""Write what each merge of a table cost beyond the individual models (costs.csv, costs.md beside it), and print it."""

import sys
from collections.abc import Sequence

from tatr.console.arguments import opened, parser_of_table
from tatr.errors import TatrError


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    given = parser_of_table("costs", __doc__, prog).parse_args(arguments)

    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tatr.report.costs import as_text, markdown
    from tatr.workflow.costs import costs

    try:
        table = opened(given.table, "tables")
        found = costs(table)
    except TatrError as error:
        sys.exit(f"error: {error}")
    # Beside the table but not part of it: times differ from run to run, and equal runs shall give equal tables.
    (table.folder / "costs.csv").write_text(found.to_csv(), encoding="utf-8")
    (table.folder / "costs.md").write_text(markdown(found), encoding="utf-8")
    console = Console(width=None if Console().is_terminal else 190)
    shown = Table(box=box.SIMPLE, title="Cost beyond the individual models")
    heading, *lines = as_text(found)
    for index, name in enumerate(heading):
        shown.add_column(name, justify="right" if index else "left", overflow="fold")
    for line in lines:
        shown.add_row(*map(escape, line))
    console.print(shown)
    console.print(f"  {table.folder / 'costs.csv'}", highlight=False, soft_wrap=True)
    return 0
