"""Make damaged artefacts again: each by its name, so that nothing else runs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tatr.console import snakemake
from tatr.console.arguments import plan_of


def repair(wrong: Iterable[Path], configs: Sequence[Path], cores: str) -> int:
    """Make artefacts again, with what they were made from where that is missing; 1 if some could not be made, else 0.

    Args:
        wrong: their folders, and what attempts that are over have left beside them.
        configs: the configurations that they belong to.
        cores: how many CPU cores to use.
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
        planned = {Path(artefact.folder).resolve(): artefact.manifest for artefact in plan_of(config).values()}
        again.update({path: _digest(path / FILE) for path in left if path.resolve() in planned})
        targets = [planned[path.resolve()] for path in left if path in again]
        left = [path for path in left if path not in again]
        # Each target's job runs, whether Snakemake sees a reason or not; of others those whose results are missing.
        if targets and snakemake.run([config], ["--cores", cores, "--force"], targets) != 0:
            return 1
    whole = [path for path in again if not list(problems(path / FILE))]
    equal = [path for path in whole if _digest(path / FILE) == again[path]]
    print(f"{len(whole)} made again, {len(equal)} of them with the content that they had.")
    for path in left:
        print(f"{path}: belongs to none of these configurations; name the one that made it, or delete it")
    return int(bool(left) or len(whole) < len(again))


def _digest(manifest: Path) -> str:
    from tatr.errors import TatrError
    from tatr.workflow.artefact import Manifest

    try:
        return Manifest.load(manifest).digest
    except TatrError:
        return ""
