"""Artefacts to be made: their kinds, their names, and what shapes them.

A name is a readable label and a digest of the artefact's settings, its code and its inputs' names (hence of all that
shaped those). So a change of the config or of a module gives new names to exactly what it affects, and going back to an
old setting finds the old result.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec

from tatr.config.models import Config
from tatr.digests import canonical_digest
from tatr.errors import Problems
from tatr.workflow.artefact import FILE
from tatr.workflow.code_digest import code_digest
from tatr.workflow.plan.backbone import BackboneSource
from tatr.workflow.step import step

RESULTS = "results"

P = ParamSpec("P")


@dataclass(frozen=True, eq=False)
class Planned:
    """An artefact to be made."""

    kind: str
    label: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Sequence["Planned"]] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    """Project modules its job runs: the command, and what it loads by name."""

    @cached_property
    def name(self) -> str:
        """Label and digest; the wildcard of its rule."""
        inputs = {role: [planned.name for planned in group] for role, group in self.inputs.items()}
        code = self.code if step(self.kind).names_code else None
        return f"{self.safe_label}-{canonical_digest([self.kind, self.settings, inputs, code])[:12]}"

    @property
    def safe_label(self) -> str:
        """The label, of characters that names of folders and command lines may have, and well under 255 bytes."""
        return re.sub(r"[^A-Za-z0-9._+-]", "-", self.label)[:160]

    @cached_property
    def code(self) -> str:
        """Which modules, and the digest of all they import."""
        return f"{','.join(self.modules)}:{code_digest(*self.modules)}"

    @property
    def folder(self) -> str:
        """Where it will stand, relative to the working directory."""
        return f"{RESULTS}/{self.kind}/{self.name}"

    @property
    def manifest(self) -> str:
        """Its manifest, on which the steps downstream depend."""
        return f"{self.folder}/{FILE}"

    @property
    def content(self) -> str:
        """Its main file or store."""
        return f"{self.folder}/{step(self.kind).content}"


@dataclass(frozen=True)
class Draft:
    """What is planned so far, for one seed. Equal artefacts, which several rows of the table may need, are planned
    once; drafts of several seeds share them.
    """

    config: Config
    source: BackboneSource
    """The backbone before its weights are read."""
    artefacts: dict[tuple[str, str], Planned] = field(default_factory=dict)
    """By kind and name."""
    stages: dict[tuple[Any, ...], Planned] = field(default_factory=dict)
    """What `once` remembers."""
    problems: Problems = field(default_factory=Problems)
    """What is wrong with files that the configuration names."""

    @cached_property
    def tasks(self) -> list[str]:
        """The suite, which is merged, in alphabetical order: no result depends on the order of a person's list."""
        return sorted(self.config.suite)

    @cached_property
    def unseen(self) -> list[str]:
        """Tasks that are evaluated but not merged, in alphabetical order."""
        return sorted(self.config.unseen)

    def leaving_out(self, tasks: Collection[str]) -> "Draft":
        """The same with these tasks unseen instead of merged; what it plans, this one has planned."""
        suite = [task for task in self.config.suite if task not in tasks]
        config = self.config.model_copy(update={"suite": suite, "unseen": [*tasks]})
        return replace(self, config=config, stages={})

    def add(
        self,
        kind: str,
        label: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Sequence[Planned]] | None = None,
        modules: Sequence[str] = (),
    ) -> Planned:
        """Plan an artefact, or return the one that is planned already.

        Args:
            kind: of the artefact, hence its command.
            label: for people.
            settings: of its job.
            inputs: per role of the command, the artefacts that its job reads; a role left out reads none.
            modules: what its job loads by name, in addition to what its command imports.

        Raises:
            ValueError: the command has no such role, or does not read such artefacts there: the plan is wrong.
        """
        reads, inputs = step(kind).reads, inputs or {}
        for role, group in inputs.items():
            if role not in reads or not {planned.kind for planned in group} <= {*step(kind).kinds(role)}:
                kinds = ", ".join(planned.kind for planned in group)
                raise ValueError(f"{kind}.py reads {dict(reads)}, but {role} is planned as {kinds or 'nothing'}")
        complete = {role: inputs.get(role, ()) for role in reads}
        planned = Planned(kind, label, settings, complete, (kind, *modules))
        return self.artefacts.setdefault((kind, planned.name), planned)


def once(stage: Callable[Concatenate[Draft, P], Planned]) -> Callable[Concatenate[Draft, P], Planned]:
    """Plan a stage once per draft and arguments: hundreds of rows need the same task vectors."""

    @wraps(stage)
    def planned(draft: Draft, /, *args: P.args, **kwargs: P.kwargs) -> Planned:
        key = (stage, *args, *kwargs.items())
        if key not in draft.stages:
            draft.stages[key] = stage(draft, *args, **kwargs)
        return draft.stages[key]

    return planned
