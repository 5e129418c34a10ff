"""Make damaged artefacts again: each by its name, so that nothing else runs."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tatr.console import snakemake
from tatr.console.arguments import plan_of

if TYPE_CHECKING:
    from tatr.workflow.plan.artefacts import Planned


def repair(wrong: Iterable[Path], configs: Sequence[Path], cores: str) -> int:
    """Make artefacts again, with what they were made from where that is missing; 1 if some could not be made, else 0.

    Args:
        wrong: their folders, and what attempts that are over have left beside them.
        configs: the configurations that they belong to.
        cores: how many CPU cores to use.

    Raises:
        TatrError: a configuration can't be read, or has mistakes.
    """
    from tatr.attempts import Remnant, remove
    from tatr.workflow.artefact import FILE
    from tatr.workflow.verification import problems

    left, again = [], {}
    for path in wrong:
        if Remnant.of(path):
            remove(path)
        else:
            left.append(path)
    for config in configs:
        planned = {Path(artefact.folder).resolve(): artefact for artefact in plan_of(config).values()}
        found = [path for path in left if path.resolve() in planned]
        again.update({path: _digest(path / FILE) for path in found})
        left = [path for path in left if path not in again]
        for targets in _rounds([planned[path.resolve()] for path in found]):
            # Each target's job runs, whether Snakemake sees a reason or not; of others those whose results are missing.
            if snakemake.run([config], ["--cores", cores, "--force"], targets) != 0:
                return 1
    whole = [path for path in again if not list(problems(path / FILE))]
    equal = [path for path in whole if _digest(path / FILE) == again[path]]
    if again:
        unknown = sum(not again[path] for path in whole)
        told = f"; what {unknown} had before is not known" if unknown else ""
        print(f"{len(whole)} made again, {len(equal)} of them with the content that they had{told}.")
    for path in left:
        print(f"{path}: none of these configurations, with the present code, asks for it; name another, or delete it")
    return int(bool(left) or len(whole) < len(again))


def _rounds(wrong: Sequence["Planned"]) -> Iterator[list[str]]:
    """Manifests to be made in one run each: none depends on another of its round.

    Within a run Snakemake makes again whatever lies between two artefacts that it makes; the next run compares content.
    """
    names = {artefact.name for artefact in wrong}

    @cache
    def depth(artefact: "Planned") -> int:
        given = [artefact for group in artefact.inputs.values() for artefact in group]
        return max((depth(one) + (one.name in names) for one in given), default=0)

    for _, group in itertools.groupby(sorted(wrong, key=depth), depth):
        yield [artefact.manifest for artefact in group]


def _digest(manifest: Path) -> str:
    from tatr.errors import TatrError
    from tatr.workflow.artefact import Manifest

    try:
        return Manifest.load(manifest).digest
    except TatrError:
        return ""
