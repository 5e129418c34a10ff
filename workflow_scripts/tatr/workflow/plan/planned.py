"""An artefact to be made: its kind, its name, and what shapes it.

The name is a readable label and a digest of the artefact's settings, its code and its inputs' names (hence of all that
shaped those). So a change of the config or of a module gives new names to exactly what it affects, and going back to an
old setting finds the old result.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tatr.digests import canonical_digest
from tatr.workflow.artefact import FILE
from tatr.workflow.code_digest import code_digest

RESULTS = "results"

CONTENT = {
    "download": "files",
    "images": "images.zarr",
    "pretraining": "model.safetensors",
    "backbone": "encoder.safetensors",
    "head": "head.safetensors",
    "finetuning": "encoder.safetensors",
    "checkpoint": "encoder.safetensors",
    "adaptation": "coefficients.json",
    "surgery": "surgery.safetensors",
    "evaluation": "scores.json",
    "sanity": "sanity.json",
    "export": "open_clip_model.safetensors",
    "tables": "methods.csv",
    "figures": "methods.png",
}
"""What an artefact of a kind holds; all others hold a vector."""


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
        # Schedulers use it as a folder's name and on command lines: plain characters, and well under 255 bytes.
        label = re.sub(r"[^A-Za-z0-9._+-]", "-", self.label)[:160]
        # What others published is not ours to make: better code to fetch it does not ask for it again.
        code = None if self.kind == "download" else self.code
        return f"{label}-{canonical_digest([self.kind, self.settings, inputs, code])[:12]}"

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
        return f"{self.folder}/{CONTENT.get(self.kind, 'vector.zarr')}"
