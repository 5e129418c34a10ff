"""Making moved results current: file times that say what was made from what, as the manifests do.

Copies without times, restored backups and dates in the future make Snakemake run again what is there and whole.
"""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tatr.workflow.artefact import FILE, Artefact, Manifest

STAMP = ".snakemake_timestamp"
"""In a folder that is a rule's output; Snakemake takes its time for the folder's."""


def make_current(manifests: Iterable[Path]) -> int:
    """Give artefacts ascending times, each later than those of what it was made from; returns how many there were.

    Args:
        manifests: of whole artefacts; checking them is the caller's business.
    """
    folders = [Artefact(path.parent, Manifest.load(path)) for path in manifests]
    artefacts = {artefact.manifest.name: artefact for artefact in folders}
    now = time.time()
    ordered = list(_inputs_first(artefacts))
    for number, artefact in enumerate(ordered):
        # A second apart: some file systems keep no fractions.
        moment = now - (len(ordered) - number)
        for path in _outputs(artefact):
            os.utime(path, (moment, moment), follow_symlinks=False)
    return len(ordered)


def _inputs_first(artefacts: dict[str, Artefact]) -> Iterator[Artefact]:
    done: set[str] = set()

    def visit(name: str) -> Iterator[Artefact]:
        if name in done or name not in artefacts:
            return
        done.add(name)
        for group in artefacts[name].manifest.inputs.values():
            for given in group:
                yield from visit(given)
        yield artefacts[name]

    for name in sorted(artefacts):
        yield from visit(name)


def _outputs(artefact: Artefact) -> Iterator[Path]:
    """Whatever of an artefact may be an output of its rule: manifest, record, content, and folders of content."""
    yield artefact.folder / FILE
    if artefact.record.is_file():
        yield artefact.record
    for name in artefact.manifest.content:
        for path in (artefact.folder / name, *map(artefact.folder.joinpath, Path(name).parents[:-1])):
            yield path
            if (path / STAMP).is_file():
                yield path / STAMP
