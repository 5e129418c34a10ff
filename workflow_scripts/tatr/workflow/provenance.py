"""What shaped a result: the settings of all artefacts that it was made from, as their manifests tell."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tatr.digests import canonical
from tatr.errors import TatrError
from tatr.workflow.artefact import FILE, Artefact, Manifest


class Setting(NamedTuple):
    """A setting of one kind of artefact."""

    kind: str
    name: str
    task: str
    """Of which task the artefact is; empty if of no single one."""


Provenance = Mapping[Setting, frozenset[str]]
"""Per setting all values that occur, as JSON."""


class Difference(NamedTuple):
    """A setting that differs between two results."""

    kind: str
    name: str
    one: tuple[str, ...]
    """The values that only the first result has; none where it lacks the setting."""
    other: tuple[str, ...]


def provenance(results: Iterable[Artefact]) -> Provenance:
    """The settings of some results, of what these were made from, and so on.

    Artefacts whose manifest is not there any more are left out, with all that they were made from.
    """
    found: dict[Setting, set[str]] = {}
    for artefact in made_from(results).values():
        settings = dict(artefact.manifest.settings)
        task = settings.pop("task", "")
        for name, value in settings.items():
            found.setdefault(Setting(artefact.manifest.kind, name, task), set()).add(canonical(value))
    return {setting: frozenset(values) for setting, values in found.items()}


def differences(one: Provenance, other: Provenance) -> dict[Difference, list[str]]:
    """Settings that differ, each with the tasks for which it differs in this way (none, if of no single task)."""
    found: dict[Difference, list[str]] = {}
    for setting in sorted({*one, *other}):
        a, b = one.get(setting, frozenset()), other.get(setting, frozenset())
        if a != b:
            difference = Difference(setting.kind, setting.name, tuple(sorted(a - b)), tuple(sorted(b - a)))
            found.setdefault(difference, []).extend([setting.task] if setting.task else [])
    return found


def made_by(artefact: Artefact, role: str) -> list[Artefact]:
    """The artefacts that one read for a role, from the folder of results in which it lies.

    Raises:
        TatrError: one of them is not there any more, or was made again with other content.
    """
    found = []
    for name, digest in artefact.manifest.inputs.get(role, {}).items():
        given = find(artefact, name)
        if given is None or given.manifest.digest != digest:
            state = "is gone" if given is None else "has other content by now"
            raise TatrError(f"{artefact.folder}: was made from {name}, which {state}; run snakemake again")
        found.append(given)
    return found


def made_from(results: Iterable[Artefact]) -> dict[str, Artefact]:
    """Some results, what they were made from, and so on, by name; but for what is not there any more."""
    reached: dict[str, Artefact] = {}
    waiting = [*results]
    while waiting:
        artefact = waiting.pop()
        if artefact.manifest.name not in reached:
            reached[artefact.manifest.name] = artefact
            names = [name for group in artefact.manifest.inputs.values() for name in group]
            waiting += [given for name in names if (given := find(artefact, name))]
    return reached


def find(beside: Artefact, name: str) -> Artefact | None:
    """The artefact of a name in the folder of results of another one; None if it is not there."""
    # A name ends in a digest of all that shaped the artefact, its kind among it: there is one at most.
    path = next(iter(_root(beside).glob(f"*/{name}/{FILE}")), None)
    return Artefact(path.parent, Manifest.load(path)) if path else None


def _root(artefact: Artefact) -> Path:
    return artefact.folder.resolve().parent.parent  # wherever a link to it lies
