"""What an artefact was made from, down to the images, and why it would be made again."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tatr.digests import canonical
from tatr.workflow.artefact import Artefact
from tatr.workflow.code_digest import code_digest
from tatr.workflow.plan import Plan, Planned
from tatr.workflow.provenance import find
from tatr.workflow.step import kinds, step

LOOKS = {"tables": "table_settings", "figures": "figure_settings", "report": "report_settings"}
"""Kinds whose settings are in no name, and what the plan calls them."""

DIGEST = re.compile(r"-[0-9a-f]{12}(?![0-9a-f])")
"""The end of an artefact's name."""


@dataclass(frozen=True)
class Ancestor:
    """An artefact in the lineage of another one."""

    depth: int
    """How many steps away it was first met."""
    role: str
    """As what it was read there."""
    name: str
    artefact: Artefact | None
    """None if it is not there any more."""


def lineage(artefact: Artefact) -> Iterator[Ancestor]:
    """An artefact, what it was made from, what that was made from …, each once and behind what was made from it."""
    seen: set[str] = set()

    def walk(ancestor: Ancestor) -> Iterator[Ancestor]:
        if ancestor.name in seen:
            return
        seen.add(ancestor.name)
        yield ancestor
        if ancestor.artefact:
            for role, group in ancestor.artefact.manifest.inputs.items():
                for name in group:
                    yield from walk(Ancestor(ancestor.depth + 1, role, name, find(ancestor.artefact, name)))

    yield from walk(Ancestor(0, "", artefact.manifest.name, artefact))


def changes(artefact: Artefact, plan: Plan | None) -> list[str]:
    """What differs, for this artefact itself, from what would be made now; not what follows from its inputs' changes.

    Args:
        artefact: that was made.
        plan: of a configuration; without one, only code and inputs are compared.
    """
    manifest = artefact.manifest
    found = [*_changed_inputs(artefact)]
    if plan is None:
        return found + _changed_code(artefact, _present_code(artefact))
    if planned := plan.get((manifest.kind, manifest.name)):
        return [*found, *_changed_settings(manifest.settings, settings_of(planned, plan))]
    counterpart = _counterpart(artefact, plan)
    if counterpart is None:
        return [*found, f"the configuration asks for no {manifest.kind} called {_label(manifest.name)}"]
    found += _changed_settings(manifest.settings, settings_of(counterpart, plan))
    found += _changed_code(artefact, counterpart.code)
    return [*found, *_other_inputs(artefact, counterpart)]


def can_compare_code(artefact: Artefact) -> bool:
    """Whether the manifest says which modules were run; old ones don't."""
    return ":" in artefact.manifest.code


def settings_of(planned: Planned, plan: Plan) -> Mapping[str, Any]:
    """What its job is told: the artefact's settings, or of what people look at how it looks."""
    settings: Mapping[str, Any] = getattr(plan, LOOKS.get(planned.kind, ""), planned.settings)
    return settings


def _counterpart(artefact: Artefact, plan: Plan) -> Planned | None:
    """What the plan has in its place: of the same kind and label, and with the settings that differ least."""
    manifest = artefact.manifest
    same = [p for p in plan.of_kind(manifest.kind) if p.safe_label == _label(manifest.name)]

    def distance(planned: Planned) -> int:
        return len([*_changed_settings(manifest.settings, settings_of(planned, plan))])

    return min(same, key=distance, default=None)


def _changed_settings(made: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*made, *now}):
        one, other = (canonical(given[name]) if name in given else "nothing" for given in (made, now))
        # A table's rows name evaluations: that these are others is told of what made them so.
        if DIGEST.sub("", one) != DIGEST.sub("", other):
            yield f"{name}: {one} → {other}"


def _present_code(artefact: Artefact) -> str:
    modules = artefact.manifest.code.rpartition(":")[0]
    if not modules:
        return artefact.manifest.code
    try:
        return f"{modules}:{code_digest(*modules.split(','))}"
    except ModuleNotFoundError as error:
        return f"{modules}:{error}"


def _changed_code(artefact: Artefact, now: str) -> list[str]:
    kind = artefact.manifest.kind
    if kind in kinds() and not step(kind).names_code:
        return []
    (modules, digest), (_, present) = (code.rpartition(":")[::2] for code in (artefact.manifest.code, now))
    return [f"code ({modules or kind}): {digest} → {present}"] if digest != present else []


def _changed_inputs(artefact: Artefact) -> Iterator[str]:
    for group in artefact.manifest.inputs.values():
        for name, digest in group.items():
            given = find(artefact, name)
            if given and given.manifest.digest != digest:
                yield f"made from {given.manifest.kind}/{name}, which has other content by now"


def _other_inputs(artefact: Artefact, planned: Planned) -> Iterator[str]:
    for role, group in planned.inputs.items():
        made = {_label(name) for name in artefact.manifest.inputs.get(role, ())}
        now = {given.safe_label for given in group}
        yield from (f"{role}: without {label}" for label in sorted(made - now))
        yield from (f"{role}: with {label}" for label in sorted(now - made))


def _label(name: str) -> str:
    return DIGEST.sub("", name)
