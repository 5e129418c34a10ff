"""`results/NAME/`: links that lead to the newest results of a configuration, by its name.

    results/demo/tables  →  ../tables/demo-0c9f3a5d1e77
    results/demo/export/task_arithmetic_lambda-0.3  →  ../../export/task_arithmetic_lambda-0.3-5d0f2c1b9a3e

Where the file system has no symbolic links, a file of the link's name holds the path instead, as Git does it. A record
per kind, `.tables`, is what Snakemake makes: it knows by it what was linked, so that going back to an old setting links
again, and nothing else does.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from tatr.errors import TatrError
from tatr.workflow.artefact import RECORDS
from tatr.workflow.plan.artefacts import RESULTS, Planned
from tatr.workflow.step import kinds

LINKED = ("tables", "figures", "report", "export")
"""Kinds of artefacts that people look at or take away."""

LONGEST = 4096
"""Bytes of a path."""


def links(name: str, artefacts: Iterable[Planned]) -> dict[str, dict[str, str]]:
    """What a configuration of some name is linked to.

    Args:
        name: of the configuration.
        artefacts: that are planned for it; those of kinds that are not `LINKED` are left out.

    Returns:
        Per kind, the link's path below `results/NAME` and the artefact's folder below `results`. An artefact that is
        called like the configuration is linked by its kind, `tables`; one of several by its label, `export/LABEL`.

    Raises:
        TatrError: `results/NAME` is the folder of a kind.
    """
    taken = {*kinds(), RECORDS}
    if name.casefold() in {folder.casefold() for folder in taken}:  # some file systems don't tell them apart
        raise TatrError(f"name: '{name}': {RESULTS}/{name} holds results of all configurations; give another name")
    shown = [planned for planned in artefacts if planned.kind in LINKED]
    labels = Counter((planned.kind, planned.safe_label) for planned in shown)
    found: dict[str, dict[str, str]] = {}
    for planned in shown:
        unique = labels[planned.kind, planned.safe_label] == 1
        below = f"/{planned.safe_label if unique else planned.name}"
        link = planned.kind + ("" if planned.label == name else below)
        found.setdefault(planned.kind, {})[link] = f"{planned.kind}/{planned.name}"
    return found


def link(record: Path, targets: Mapping[str, str]) -> None:
    """Make the links of one kind, remove those that it had before, and write the record.

    Args:
        record: `results/NAME/.KIND`.
        targets: as `links` gives them.

    Raises:
        TatrError: something that is no link stands where one is to be.
    """
    folder, kind = record.parent, record.name.removeprefix(".")
    folder.mkdir(parents=True, exist_ok=True)
    for old in linked(folder, kind):
        if old not in targets:
            remove(folder, old)
    for path, target in targets.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        _point(place, os.path.relpath(folder.parent / target, place.parent))
    record.write_text("".join(f"{path} -> {target}\n" for path, target in targets.items()), encoding="utf-8")


def linked(folder: Path, kind: str) -> dict[str, Path]:
    """The links of a kind below `results/NAME`, and where they lead."""
    one = folder / kind
    places = [one] if _target(one) else sorted(one.iterdir()) if one.is_dir() else []
    found = {place.relative_to(folder).as_posix(): _target(place) for place in places}
    return {path: (folder / path).parent / target for path, target in found.items() if target}


def remove(folder: Path, path: str) -> None:
    """Remove a link of `results/NAME`, the record of its kind, and the folder around it that is empty by then."""
    place = folder / path
    place.unlink()
    (folder / f".{path.partition('/')[0]}").unlink(missing_ok=True)
    if place.parent != folder and not any(place.parent.iterdir()):
        place.parent.rmdir()


def lead(folder: Path, path: str, target: str) -> None:
    """Let a link of `results/NAME` lead to another folder of `results`.

    The record of its kind is removed: Snakemake would take it for a record of the links that it last made itself.
    """
    place = folder / path
    _point(place, os.path.relpath(folder.parent / target, place.parent))
    (folder / f".{path.partition('/')[0]}").unlink(missing_ok=True)


def _point(place: Path, target: str) -> None:
    if _target(place):
        place.unlink()
    elif place.exists():
        raise TatrError(f"{place}: is no link, but one to {target} is to stand here; move it away")
    try:
        place.symlink_to(target, target_is_directory=True)
    except OSError:  # no links here
        place.write_text(target + "\n", encoding="utf-8")


def _target(place: Path) -> str:
    """Where a link leads, or a file that stands for one; empty if it is neither."""
    if place.is_symlink():
        return str(place.readlink())
    if not place.is_file() or place.stat().st_size > LONGEST:
        return ""
    text = place.read_bytes().decode(errors="replace")
    return text.strip() if text.startswith("../") else ""
