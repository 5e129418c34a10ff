"""Recompute the digests of all artefacts under a folder, and name what is missing, truncated or altered."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tatr.console.repair import repair
from tatr.errors import TatrError


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command: 1 if anything is wrong, else 0.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    given = _parser(prog).parse_args(arguments)

    from tatr.progress import progress
    from tatr.report.plain_text import counted
    from tatr.workflow.artefact import FILE
    from tatr.workflow.renewal import make_current
    from tatr.workflow.verification import manifests, problems, states, without_manifest

    if given.folder.is_file():
        sys.exit(f"error: {given.folder}: is a file; give the folder that holds it: {given.folder.parent}")
    found = manifests(given.folder)
    wrong = [(path.parent, problem) for path in progress(found, "verify") for problem in problems(path)]
    wrong += [(path, problem) for path, problem in without_manifest(given.folder)]
    for state in states(given.folder):
        print(f"{state}: an attempt's state; the next one goes on from it")
    if not (found or wrong):
        print(f"{given.folder}: holds no artefacts (no {FILE}); run snakemake first, or name another folder")
        return 1
    for artefact, problem in wrong:
        print(f"{artefact}: {problem}")
    if wrong and given.repair:
        try:
            return repair(dict.fromkeys(artefact for artefact, _ in wrong), given.repair, given.cores)
        except TatrError as error:
            sys.exit(f"error: {error}")
    if wrong:
        print(f"\n{counted(len(wrong), 'problem')}. `tatr verify --repair CONFIG` makes what is wrong again; name the")
        print("configurations that it belongs to. What was made from it runs again only where its content has changed.")
        return 1
    print(f"{counted(len(found), 'artefact')} verified: all content is there and has the digest its manifest states.")
    if given.touch:
        make_current(found)
        print("Their times are in order: `snakemake -n` shows what your configuration still lacks.")
    return 0


def _parser(prog: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog="examples: tatr verify results/task_vector\n          tatr verify --repair mine.yaml other.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results"), help="default: results")
    text = "make what is wrong again, and nothing else, by the configurations that it belongs to"
    parser.add_argument("--repair", type=Path, nargs="+", metavar="CONFIG", default=[], help=text)
    parser.add_argument("-c", "--cores", default="all", help="CPU cores to use for that (default: all)")
    text = "if all is whole, give the files ascending times: results that were moved, copied without times or restored "
    text += "are then current, and nothing runs again"
    parser.add_argument("--touch", action="store_true", help=text)
    return parser
