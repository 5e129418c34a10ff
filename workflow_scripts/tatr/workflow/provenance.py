"""What shaped a result: the settings of all artefacts that it was made from, as their manifests tell."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tatr.digests import canonical
from tatr.errors import TatrError
from tatr.workflow.artefact import FILE, Artefact, Manifest

Provenance = Mapping[str, frozenset[str]]
"""Per setting (`finetuning cars: steps`) all values that occur, as JSON."""


def provenance(results: Iterable[Artefact]) -> Provenance:
    """The settings of some results, of what these were made from, and so on.

    Artefacts whose manifest is not there any more are left out, with all that they were made from.
    """
    found: dict[str, set[str]] = {}
    for artefact in _all(results).values():
        manifest = artefact.manifest
        owner = " ".join([manifest.kind, *([manifest.settings["task"]] if "task" in manifest.settings else [])])
        for key, value in manifest.settings.items():
            found.setdefault(f"{owner}: {key}", set()).add(canonical(value))
    return {key: frozenset(values) for key, values in found.items()}


def differing(one: Provenance, other: Provenance) -> dict[str, tuple[list[str], list[str]]]:
    """Settings that differ, and the values that only one of two results has; a side without the setting has none."""
    keys = sorted({*one, *other})
    found = {key: (one.get(key, frozenset()), other.get(key, frozenset())) for key in keys}
    return {key: (sorted(a - b), sorted(b - a)) for key, (a, b) in found.items() if a != b}


def made_by(artefact: Artefact, role: str) -> list[Artefact]:
    """The artefacts that one read for a role, from the folder of results in which it lies.

    Raises:
        TatrError: one of them is not there any more, or was made again with other content.
    """
    found = []
    for name, digest in artefact.manifest.inputs.get(role, {}).items():
        given = _find(artefact, name)
        if given is None or given.manifest.digest != digest:
            state = "is gone" if given is None else "has other content by now"
            raise TatrError(f"{artefact.folder}: was made from {name}, which {state}; run snakemake again")
        found.append(given)
    return found


def _all(results: Iterable[Artefact]) -> dict[str, Artefact]:
    reached: dict[str, Artefact] = {}
    waiting = [*results]
    while waiting:
        artefact = waiting.pop()
        if artefact.manifest.name not in reached:
            reached[artefact.manifest.name] = artefact
            names = [name for group in artefact.manifest.inputs.values() for name in group]
            waiting += [given for name in names if (given := _find(artefact, name))]
    return reached


def _find(beside: Artefact, name: str) -> Artefact | None:
    # A name ends in a digest of all that shaped the artefact, its kind among it: there is one at most.
    path = next(iter(_root(beside).glob(f"*/{name}/{FILE}")), None)
    return Artefact(path.parent, Manifest.load(path)) if path else None


def _root(artefact: Artefact) -> Path:
    return artefact.folder.absolute().parent.parent
