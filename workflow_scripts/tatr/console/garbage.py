"""List what in results/ no configuration of a list refers to, with sizes; --delete removes it.

These are results of other settings, of other code and of other configurations than the ones given. What the workflow
did not make is left alone, and so is everything outside; what a running or a killed step owns is listed by itself.
"""

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tatr.console.arguments import parser_with, plan_of
from tatr.errors import TatrError
from tatr.report.plain_text import size

if TYPE_CHECKING:
    from tatr.workflow.leftovers import Leftover, Leftovers

EXAMPLE = """examples:
  tatr gc mine.yaml other.yaml
  tatr gc mine.yaml other.yaml --delete

A run with --config or several files is another configuration: give a file that holds the whole of it."""


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the command.

    Args:
        arguments: of the command line; None takes those of this process.
        prog: what `--help` calls the command.
    """
    parser = parser_with(EXAMPLE, __doc__, prog)
    parser.add_argument("configs", nargs="+", type=Path, metavar="CONFIG", help="configurations whose results are kept")
    parser.add_argument("--delete", action="store_true", help="delete what is listed (default: only list it)")
    parser.add_argument("--unfinished", action="store_true", help="with --delete: what unfinished steps left, too")
    given = parser.parse_args(arguments)
    results = Path("results")

    from tatr.workflow.leftovers import delete, leftovers

    try:
        if not results.is_dir():
            raise TatrError(f"{results.absolute()}: no such folder; run this where you run snakemake")
        plans = [plan_of(config) for config in given.configs]
        found = leftovers(results, plans)
        _show(found, deleting=given.delete, unfinished=given.unfinished)
        if given.delete:
            print(f"\n{size(delete(found, results, plans, unfinished=given.unfinished))} deleted")
    except TatrError as error:
        sys.exit(f"error: {error}")
    return 0


def _show(found: "Leftovers", *, deleting: bool, unfinished: bool) -> None:
    for kind, items in groupby(found.artefacts, key=lambda item: item.path.parent):
        of_kind = [*items]
        print(f"{_total(of_kind):>10}  {kind}/  ({len(of_kind)})")
        for item in of_kind:
            print(f"{size(item.nbytes):>10}    {item.path.name}")
    if found.records:
        print(f"{_total(found.records):>10}  {len(found.records)} records of jobs in results/benchmarks")
    can_be_deleted = (found.artefacts or found.records) and not found.nothing_of_theirs
    hint = "; --delete removes these" if can_be_deleted and not deleting else ""
    counts = f"{len(found.artefacts)} of {len(found.artefacts) + len(found.referenced)} artefacts"
    print(f"{_total(found.artefacts):>10}  in {counts} that no given configuration refers to{hint}")
    if found.nothing_of_theirs and not deleting:  # --delete says so at its end
        print(f"\nresults: {found.nothing_of_theirs}")
    if found.unfinished:
        doomed = "of unfinished steps" if deleting and unfinished else "of unfinished steps, kept (else: --unfinished)"
        print(f"\n{_total(found.unfinished):>10}  {doomed}")
        for item in found.unfinished:
            print(f"{size(item.nbytes):>10}    {item.path}: {_meaning(item)}")
    if found.others:
        print(f"\n{_total(found.others):>10}  not made by the workflow, left alone")
        for item in found.others:
            print(f"{size(item.nbytes):>10}    {item.path}")


def _meaning(item: "Leftover") -> str:
    if ".saved-" in item.path.name:
        return "the next run goes on from it" if item.wanted else "no given configuration would go on from it"
    if item.path.name.endswith(".deleted"):
        return "left by an interrupted --delete"
    state = "being built, or left by a killed step"
    return f"{state}; the next run replaces it" if item.wanted else state


def _total(items: "Iterable[Leftover]") -> str:
    return size(sum(item.nbytes for item in items))
