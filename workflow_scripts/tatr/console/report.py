"""Make the report of a configuration: everything that it needs is run, by snakemake, from where you are."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tatr.console import snakemake

TARGET = "all"
"""The workflow's target that makes a configuration's report, and leads results/NAME to it."""


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command; gives snakemake's exit status.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [-h] CONFIG [CONFIG ...] [option of snakemake ...]",
        description=__doc__,
        epilog="example: tatr report mine.yaml --cores 2",
        allow_abbrev=False,
    )
    text = "the configuration; of several files, later ones win"
    parser.add_argument("configs", nargs="+", type=Path, metavar="CONFIG", help=text)
    parser.add_argument("-c", "--cores", default="all", help="CPU cores to use (default: all)")
    given, options = parser.parse_known_args(arguments)

    return snakemake.run(given.configs, ["--cores", given.cores, *options], [TARGET])
