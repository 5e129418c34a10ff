"""Make the report of a configuration: everything that it needs is run, by snakemake, from where you are."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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

    from tatr.workflow.code_digest import SCRIPTS

    snakefile = SCRIPTS.parent / "Snakefile"
    if not snakefile.is_file():
        sys.exit(f"error: {snakefile}: is not there; reports are made by the tatr of a clone (make install)")
    if missing := [str(config) for config in given.configs if not config.is_file()]:
        sys.exit(f"error: {', '.join(missing)}: no such file; config/README.md says how to write a configuration")
    for config in given.configs:
        _check_readable(config)
    command = _command(given.configs, ["--cores", given.cores, *options], snakefile)
    return subprocess.run(command, env=_environment()).returncode


def _check_readable(config: Path) -> None:
    """Say in one line what Snakemake would say in a traceback."""
    from tatr.config.written import read_yaml
    from tatr.errors import TatrError

    try:
        read_yaml(config)
    except TatrError as error:
        sys.exit(f"error: {error}")


def _environment() -> dict[str, str]:
    """Snakemake keeps a cache below the home folder. Where that can't be written, it is kept where the run is."""
    home = os.environ.get("HOME") or "/"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache")
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    own = (
        {}
        if there.is_dir() and os.access(there, os.W_OK)
        else {"XDG_CACHE_HOME": str(Path(".snakemake/cache").absolute())}
    )
    return {**os.environ, **own}


def _command(configs: Sequence[Path], options: Sequence[str], snakefile: Path) -> list[str]:
    files = [str(config) for config in configs]
    start = [sys.executable, "-m", "snakemake", "--snakefile", os.path.relpath(snakefile)]
    return [*start, *options, "--configfile", *files, "--", TARGET]
