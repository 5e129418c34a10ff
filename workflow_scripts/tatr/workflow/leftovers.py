"""What lies in a folder of results that none of some configurations refers to. Nothing here follows a link."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tatr.attempts import Remnant
from tatr.errors import TatrError
from tatr.workflow.artefact import FILE, RECORDS, Manifest
from tatr.workflow.links import LINKED, lead, linked, links, remove
from tatr.workflow.plan import Plan

DELETED = ".deleted"
"""Suffix of what is being deleted: half of an artefact must not pass for a whole one."""

UNFINISHED = re.compile(r"(.+-[0-9a-f]{12})(\.(?:partial|saved)-.+|\.deleted|)")
"""What is being built, the state from which a long step goes on, what was being deleted, and the folder that Snakemake
makes for an artefact.
"""


@dataclass(frozen=True)
class Leftover:
    """A folder or a file in the results."""

    path: Path
    nbytes: int
    wanted: bool = False
    """Whether a configuration refers to the artefact that it would become."""


@dataclass(frozen=True)
class Leftovers:
    """What a folder of results holds, but for what the configurations refer to."""

    referenced: list[Leftover] = field(default_factory=list)
    """Artefacts that a configuration refers to."""
    artefacts: list[Leftover] = field(default_factory=list)
    """Those that none refers to."""
    records: list[Leftover] = field(default_factory=list)
    """Snakemake's measurements of jobs that made what is not referred to, or is not there any more."""
    unfinished: list[Leftover] = field(default_factory=list)
    """What a running step is building, what a killed one left, or what it would go on from."""
    others: list[Leftover] = field(default_factory=list)
    """What the workflow did not make."""

    @property
    def nothing_of_theirs(self) -> str:
        """Why nothing may be deleted: there are artefacts, but none of the configurations'. Empty if there are some."""
        if self.referenced or not self.artefacts:
            return ""
        return (
            "holds nothing of the given configurations, so that nothing is deleted; after a change of code, say, run "
            "snakemake first, which makes theirs"
        )


def leftovers(results: Path, plans: Iterable[Plan]) -> Leftovers:
    """Look through a folder of results.

    Args:
        results: the folder; may be a link itself.
        plans: of the configurations whose results are wanted.
    """
    wanted = {key for plan in plans for key in plan}
    found = Leftovers()
    for folder in _entries(results):
        if folder.name == RECORDS:
            continue
        if folder.is_symlink() or not folder.is_dir():
            found.others.append(_sized(folder))
        elif not _is_of_links(folder):
            _look_at(folder, wanted, found)
    kept = {(item.path.parent.name, item.path.name) for item in found.referenced}
    for record in sorted(results.glob(f"{RECORDS}/*/*.tsv")):
        if (record.parent.name, record.stem) not in kept and not record.is_symlink():
            found.records.append(_sized(record))
    return found


def delete(found: Leftovers, results: Path, plans: Iterable[Plan], *, unfinished: bool) -> int:
    """Delete artefacts that no configuration refers to, their records, and links that lead nowhere by then.

    A configuration's own link that leads nowhere is led to what is kept of it.

    Args:
        found: what `leftovers` found.
        results: the folder.
        plans: of the configurations whose results are wanted.
        unfinished: whether to delete the remnants of unfinished steps, too, but for those that are at work.

    Returns:
        How many bytes that were.

    Raises:
        TatrError: snakemake is running there, or no artefact at all is referred to.
    """
    if found.nothing_of_theirs:
        raise TatrError(f"{results}: {found.nothing_of_theirs}")
    locks = results.absolute().parent / ".snakemake/locks"
    if locks.is_dir() and any(locks.iterdir()):
        raise TatrError(
            f"{results}: snakemake is running here, and nothing was deleted; wait until it has finished (if it was "
            "killed: snakemake --unlock)"
        )
    abandoned = [item for item in found.unfinished if unfinished and not _is_at_work(item.path)]
    doomed = [*found.artefacts, *found.records, *abandoned]
    for item in doomed:
        _delete(item.path)
    own = _own_links(results, plans)
    for folder in _entries(results):
        if folder.is_dir() and not folder.is_symlink() and _is_of_links(folder):
            _mend_dangling(folder, own.get(folder.name, {}))
    return sum(item.nbytes for item in doomed)


def _look_at(folder: Path, wanted: set[tuple[str, str]], found: Leftovers) -> None:
    """The folder of a kind, or one that has nothing to do with the workflow."""
    for path in _entries(folder):
        kind, name = folder.name, path.name
        if path.is_dir() and not path.is_symlink() and _is_artefact(path):
            item = _sized(path)
            (found.referenced if (kind, name) in wanted else found.artefacts).append(item)
        elif (match := _unfinished(path)) and not path.is_symlink():
            found.unfinished.append(_sized(path, wanted=(kind, match[1]) in wanted))
        else:
            found.others.append(_sized(path))


def _unfinished(path: Path) -> re.Match[str] | None:
    match = UNFINISHED.fullmatch(path.name)
    return match if match and (match[2] or not (path / FILE).exists()) else None


def _is_at_work(path: Path) -> bool:
    remnant = Remnant.of(path)
    return remnant is not None and remnant.is_alive()


def _is_artefact(path: Path) -> bool:
    try:
        manifest = Manifest.load(path / FILE)
    except TatrError:
        return False
    return (manifest.kind, manifest.name) == (path.parent.name, path.name)


def _is_of_links(folder: Path) -> bool:
    return any((folder / f".{kind}").is_file() or linked(folder, kind) for kind in LINKED)


def _own_links(results: Path, plans: Iterable[Plan]) -> dict[str, dict[str, str]]:
    """Where links should lead by configurations of each name: to what is there, if several share a name."""
    own: dict[str, dict[str, str]] = {}
    for plan in plans:
        of_name = own.setdefault(plan.config.name, {})
        for targets in links(plan.config.name, plan.values()).values():
            for path, target in targets.items():
                if path not in of_name or (results / target / FILE).is_file():
                    of_name[path] = target
    return own


def _mend_dangling(folder: Path, own: Mapping[str, str]) -> None:
    for kind in LINKED:
        for path, target in linked(folder, kind).items():
            if (target / FILE).is_file():
                continue
            if path not in own:
                remove(folder, path)
            elif (folder.parent / own[path] / FILE).is_file():
                lead(folder, path, own[path])
            # Else the next run makes what it should lead to, and renews it.
    if not any(folder.iterdir()):
        folder.rmdir()


def _delete(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if _is_artefact(path):
        path = path.rename(path.with_name(path.name + DELETED))
    shutil.rmtree(path)


def _sized(path: Path, *, wanted: bool = False) -> Leftover:
    return Leftover(path, sum(_sizes(path)), wanted)


def _sizes(path: Path) -> Iterator[int]:
    yield path.lstat().st_size
    if path.is_dir() and not path.is_symlink():
        for parent, folders, files in os.walk(path):  # follows no links
            for name in (*folders, *files):
                yield (Path(parent) / name).lstat().st_size


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
