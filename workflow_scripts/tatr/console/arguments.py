"""Arguments that several commands take."""

import argparse
from pathlib import Path


def parser_of_table(command: str, description: str | None, prog: str | None) -> argparse.ArgumentParser:
    """The parser of a command about a methods table.

    Args:
        command: its name.
        description: for `--help`.
        prog: what `--help` calls the command.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"example: python workflow_scripts/{command}.py results/tables/demo-*/manifest.json",
    )
    parser.add_argument("table", type=Path, help="the table's manifest")
    return parser
