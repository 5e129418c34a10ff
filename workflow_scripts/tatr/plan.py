"""The plan: every artefact that a configuration asks for, named by what shapes it.

An artefact's name is a readable label and a digest of its settings, its code and its inputs' names (hence of all that
shaped those). So a change of the config or of a module gives new names to exactly what it affects, going back to an
old setting finds the old result, and a job that was submitted under another configuration no longer finds itself in
the plan and stops. Display names, resources and plot styles are in no name.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tatr.code_digest import code_digest
from tatr.config.errors import nearest
from tatr.config.models import Config, Merge, TrustRegion
from tatr.errors import TatrError
from tatr.manifest import FILE, canonical_digest

RESULTS = "results"

CONTENT = {
    "images": "images.zarr",
    "pretrain": "model.safetensors",
    "backbone": "encoder.safetensors",
    "head": "head.safetensors",
    "finetune": "encoder.safetensors",
    "evaluate": "scores.json",
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
        return f"{label}-{canonical_digest([self.kind, self.settings, inputs, self.code])[:12]}"

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


@dataclass
class Plan:
    """All artefacts of a configuration, made on demand and found again by kind and name."""

    config: Config
    backbones: Path
    """Where named backbones are."""
    _found: dict[tuple[str, str], Planned] = field(default_factory=dict)

    def find(self, kind: str, name: str) -> Planned:
        """The artefact that a job's wildcard names."""
        self.figures  # noqa: B018  (plans everything there is)
        if (kind, name) not in self._found:
            raise TatrError(
                f"{RESULTS}/{kind}/{name} is not part of the current configuration and code. If a submitted job says "
                "this, the configuration or the code was edited while it waited: run snakemake again"
            )
        return self._found[kind, name]

    @cached_property
    def tasks(self) -> list[str]:
        """The suite in alphabetical order: results do not depend on the order in which a person lists it."""
        return sorted(self.config.suite)

    @cached_property
    def backbone(self) -> Path:
        """Folder of the backbone: model.json (open_clip's), model.safetensors, manifest.json."""
        name = self.config.backbone
        return self.backbones / name if (self.backbones / name).is_dir() else Path(name)

    @cached_property
    def pretrained(self) -> Planned:
        """θ_pre, the text encoder and the model config."""
        try:
            model = json.loads((self.backbone / "model.json").read_text())
            # Its manifest says which weights they are; parsing does not read the weights themselves.
            weights = json.loads((self.backbone / FILE).read_text())["content"]["model.safetensors"]
        except (OSError, ValueError, KeyError) as error:
            there = [path.name for path in self.backbones.iterdir() if path.is_dir()]
            name = self.config.backbone
            raise TatrError(
                f"backbone: '{name}' is neither one of backbones/{nearest(name, there)} nor a folder with "
                f"model.json, model.safetensors and {FILE} ({error})"
            ) from None
        return self._add("backbone", self.backbone.name, {"model": model, "weights": weights})

    @cached_property
    def pretrain(self) -> Planned | None:
        """The backbone made anew, if it comes with a recipe. Nothing depends on it: the shipped weights do."""
        recipe = self.backbone / "pretraining.json"
        if not recipe.is_file():
            return None
        settings = {"model": self.pretrained.settings["model"], "recipe": json.loads(recipe.read_text())}
        return self._add("pretrain", self.backbone.name, settings)

    def images(self, task: str) -> Planned:
        """Decoded images of a task."""
        config = self.config.tasks[task]
        settings = config.model_dump(exclude={"templates"}) | {"task": task, "size": self._image_size}
        modules = [f"tatr.sources.{config.source}"]
        modules += [f"tatr.tiny8.{task}"] if config.source == "tiny8" else []
        return self._add("images", task, settings, {}, modules)

    def head(self, task: str) -> Planned:
        """Zero-shot classifier of a task."""
        config = self.config.tasks[task]
        settings = {"task": task, "classnames": config.classnames, "templates": config.templates}
        # Classes that the config does not list are read off the images' folders.
        images = [] if config.classnames else [self.images(task)]
        return self._add("head", task, settings, {"pretrained": [self.pretrained], "images": images})

    def finetuned(self, task: str) -> Planned:
        """θ_k of a task."""
        settings = self.config.finetuning.of(task).model_dump(mode="json")
        settings["seed"] = self.config.seed if settings["seed"] is None else settings["seed"]
        return self._add("finetune", task, settings, self._seen_by(task))

    def task_vector(self, task: str) -> Planned:
        """Δ_k of a task."""
        inputs = {"pretrained": [self.pretrained], "finetuned": [self.finetuned(task)]}
        return self._add("task_vector", task, {"task": task}, inputs)

    def gradient(self, task: str, count: int) -> Planned:
        """G_k of a task."""
        seed = self.config.seed if self.config.exemplars.seed is None else self.config.exemplars.seed
        settings = {"task": task, "count": count, "seed": seed}
        return self._add("gradient", f"{task}_n-{count}", settings, self._seen_by(task))

    def sensitivity(self, region: TrustRegion) -> Planned:
        """Ω of the suite."""
        inputs = {"task_vectors": [self.task_vector(task) for task in self.tasks], "gradients": []}
        if region.sensitivity == "gradient":
            inputs["gradients"] = [self.gradient(task, self._count(region)) for task in self.tasks]
        return self._add("sensitivity", self._region_label(region), {}, inputs)

    def mask(self, region: TrustRegion) -> Planned:
        """Where a merge may change parameters."""
        label = f"{self._region_label(region)}_tau-{region.tau:g}"
        return self._add("mask", label, {"tau": region.tau}, {"sensitivity": [self.sensitivity(region)]})

    def merge(self, merge: Merge) -> Planned:
        """The direction of a merge."""
        inputs = {"task_vectors": [self.task_vector(task) for task in self.tasks], "mask": []}
        if merge.trust_region:
            inputs["mask"] = [self.mask(merge.trust_region)]
        settings = {"method": merge.method, "settings": merge.settings}
        return self._add("merge", self._merge_label(merge), settings, inputs, [f"tatr.methods.{merge.method}"])

    def evaluation(self, merge: Merge) -> Planned:
        """Scores of a merge on all tasks."""
        chosen = "search" if len(merge.coefficients) > 1 else f"{merge.coefficients[0]:g}"
        label = f"{self._merge_label(merge)}_lambda-{chosen}"
        return self._evaluation(label, merge.coefficients, [self.merge(merge)], self.tasks)

    def reference(self, task: str | None) -> Planned:
        """Scores of a task's individual model on its task, or of the pre-trained model on all (`task` None)."""
        if task is None:
            return self._evaluation("pretrained", [0.0], [], self.tasks)
        return self._evaluation(f"individual_{task}", [1.0], [self.task_vector(task)], [task])

    @cached_property
    def table(self) -> Planned:
        """The methods table: all rows in the order they are shown."""
        references = [self.reference(None), *(self.reference(task) for task in self.tasks)]
        merges = {planned.name: planned for planned in map(self.evaluation, self.config.merges)}
        return self._add("tables", self.config.name, {}, {"references": references, "merges": [*merges.values()]})

    @property
    def table_settings(self) -> dict[str, Any]:
        """What the table shows and how; not part of its name, so a new display name renews the table in place."""
        config = self.config
        rows = [{"name": m.row_name, "evaluations": [self.evaluation(m).name]} for m in config.merges]
        individual = [self.reference(task).name for task in self.tasks]
        references = [
            {"name": "Pre-trained", "evaluations": [self.reference(None).name]},
            {"name": "Individual", "evaluations": individual},
        ]
        display = {"names": config.display.tasks, "digits": config.display.digits}
        return {"rows": references + rows, "tasks": config.suite, **display}

    @property
    def figure_settings(self) -> dict[str, Any]:
        """How the figure is drawn; not part of its name either."""
        return {"width": self.config.display.figure_width, "colour": self.config.display.colour}

    @cached_property
    def figures(self) -> Planned:
        """Plots of the table."""
        return self._add("figures", self.config.name, {}, {"table": [self.table]})

    def all(self, kind: str) -> list[Planned]:
        """All artefacts of a kind."""
        self.figures  # noqa: B018  (plans everything there is)
        return [planned for (its_kind, _), planned in self._found.items() if its_kind == kind]

    def _evaluation(
        self, label: str, coefficients: list[float], directions: Sequence[Planned], tasks: Sequence[str]
    ) -> Planned:
        inputs = {
            "pretrained": [self.pretrained],
            "direction": directions,
            "heads": [self.head(task) for task in tasks],
            "images": [self.images(task) for task in tasks],
        }
        return self._add("evaluate", label, {"coefficients": coefficients}, inputs)

    def _add(
        self,
        kind: str,
        label: str,
        settings: Mapping[str, Any],
        inputs: Mapping[str, Sequence[Planned]] | None = None,
        modules: Sequence[str] = (),
    ) -> Planned:
        planned = Planned(kind, label, settings, inputs or {}, (kind, *modules))
        return self._found.setdefault((kind, planned.name), planned)

    def _seen_by(self, task: str) -> dict[str, list[Planned]]:
        return {"pretrained": [self.pretrained], "head": [self.head(task)], "images": [self.images(task)]}

    def _count(self, region: TrustRegion) -> int:
        return region.exemplars or self.config.exemplars.count

    def _region_label(self, region: TrustRegion) -> str:
        return f"gradient_n-{self._count(region)}" if region.sensitivity == "gradient" else "zero_shot"

    def _merge_label(self, merge: Merge) -> str:
        settings = "".join(f"_{key}-{value}" for key, value in merge.settings.items())
        region = merge.trust_region
        suffix = f"+{self._region_label(region)}_tau-{region.tau:g}" if region else ""
        return f"{merge.method}{settings}{suffix}"

    @property
    def _image_size(self) -> int:
        size: int = self.pretrained.settings["model"]["vision_cfg"]["image_size"]
        return size
