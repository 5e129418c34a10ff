"""The plan: every artefact that a configuration asks for, made on demand and found again by kind and name.

A job that was submitted under another configuration no longer finds itself in the plan, and stops. Display names,
resources and plot styles are in no artefact's name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tatr.config.errors import nearest
from tatr.config.merges import Merge, TrustRegion
from tatr.config.models import Config, Recipe
from tatr.errors import TatrError
from tatr.manifest import FILE
from tatr.methods import load
from tatr.planned import RESULTS, Planned

ALL_TASKS = "all-tasks"
"""Stands for a task's name where a model is trained on all of them; no task can be called so."""


@dataclass
class Plan:
    """All artefacts of a configuration."""

    config: Config
    backbones: Path
    """Where named backbones are."""
    _found: dict[tuple[str, str], Planned] = field(default_factory=dict)

    def find(self, kind: str, name: str) -> Planned:
        """The artefact that a job's wildcard names."""
        self.everything  # noqa: B018
        if (kind, name) not in self._found:
            raise TatrError(
                f"{RESULTS}/{kind}/{name} is not part of the current configuration and code. If a submitted job says "
                "this, the configuration or the code was edited while it waited: run snakemake again"
            )
        return self._found[kind, name]

    def all(self, kind: str) -> list[Planned]:
        """All artefacts of a kind."""
        self.everything  # noqa: B018
        return [planned for (its_kind, _), planned in self._found.items() if its_kind == kind]

    @cached_property
    def everything(self) -> None:
        """Plans all there is."""
        self.figures  # noqa: B018
        self.exports  # noqa: B018

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
        size = self.pretrained.settings["model"]["vision_cfg"]["image_size"]
        settings = config.model_dump(exclude={"templates"}) | {"task": task, "size": size}
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
        """θ_k of a task; or one model of all tasks."""
        recipe = self.config.multitask_recipe if task == ALL_TASKS else self.config.finetuning.of(task)
        return self._add("finetune", task, self._seeded(recipe), self._seen_by(*self._tasks_of(task)))

    def task_vector(self, task: str) -> Planned:
        """Δ_k of a task."""
        inputs = {"pretrained": [self.pretrained], "finetuned": [self.finetuned(task)]}
        return self._add("task_vector", task, {"task": task}, inputs)

    def gradient(self, task: str, count: int) -> Planned:
        """G_k of a task."""
        return self._add("gradient", f"{task}_n-{count}", self._exemplars(task, count), self._seen_by(task))

    def fisher(self, task: str, count: int) -> Planned:
        """Fisher information of a task at θ_k."""
        inputs = self._seen_by(task) | {"finetuned": [self.finetuned(task)]}
        return self._add("fisher", f"{task}_n-{count}", self._exemplars(task, count), inputs)

    def gram(self, task: str, count: int) -> Planned:
        """Gram matrices of the inputs of a task's linear maps at θ_k."""
        inputs = self._seen_by(task) | {"finetuned": [self.finetuned(task)]}
        del inputs["head"]
        return self._add("gram", f"{task}_n-{count}", self._exemplars(task, count), inputs)

    def sensitivity(self, region: TrustRegion) -> Planned:
        """Ω of the suite."""
        inputs = {"task_vectors": self._task_vectors, "gradients": []}
        if region.sensitivity == "gradient":
            inputs["gradients"] = [self.gradient(task, self._count(region)) for task in self.tasks]
        return self._add("sensitivity", self._region_label(region), {}, inputs)

    def mask(self, region: TrustRegion, tau: float) -> Planned:
        """Where a merge may change parameters."""
        label = f"{self._region_label(region)}_tau-{tau:g}"
        return self._add("mask", label, {"tau": tau}, {"sensitivity": [self.sensitivity(region)]})

    def adapt(self, merge: Merge, tau: float | None) -> Planned:
        """Coefficients of a merge, learnt on unlabelled images."""
        inputs = self._seen_by(*self.tasks) | {"task_vectors": self._task_vectors, "mask": self._masks(merge, tau)}
        inputs["heads"] = inputs.pop("head")
        settings = merge.settings | {"seed": self.config.seed}
        return self._add("adapt", self._merge_label(merge, tau), settings, inputs, [f"tatr.methods.{merge.method}"])

    def merge(self, merge: Merge, tau: float | None) -> Planned:
        """The direction of a merge."""
        inputs = {"task_vectors": self._task_vectors, "mask": self._masks(merge, tau), **self._needs(merge, tau)}
        settings = {"method": merge.method, "settings": merge.settings}
        label = self._merge_label(merge, tau)
        return self._add("merge", label, settings, inputs, [f"tatr.methods.{merge.method}"])

    def surgery(self, merge: Merge) -> Planned:
        """Modules that correct a merged model's features, trained on unlabelled images."""
        assert merge.surgery
        (coefficient,), (tau,) = merge.coefficients, merge.taus
        settings = merge.surgery.model_dump() | {"coefficient": coefficient, "seed": self.config.seed}
        inputs = {
            "pretrained": [self.pretrained],
            "direction": [self.merge(merge, tau)],
            "task_vectors": self._task_vectors,
            "images": [self.images(task) for task in self.tasks],
        }
        return self._add("surgery", f"{self._merge_label(merge, tau)}_lambda-{coefficient:g}", settings, inputs)

    def evaluation(self, merge: Merge) -> Planned:
        """Scores of a merge on all tasks."""
        chosen = "search" if len(merge.coefficients) > 1 else f"{merge.coefficients[0]:g}"
        tau = merge.taus[0] if len(merge.taus) == 1 else "search"
        label = f"{self._merge_label(merge, tau)}_lambda-{chosen}{'_surgery' if merge.surgery else ''}"
        directions = [self.merge(merge, tau) for tau in merge.taus]
        settings = {"coefficients": merge.coefficients} | ({"taus": merge.taus} if len(merge.taus) > 1 else {})
        surgery = [self.surgery(merge)] if merge.surgery else []
        return self._evaluation(label, settings, directions, self.tasks, surgery)

    def reference(self, task: str | None) -> Planned:
        """Scores of a task's individual model on its task, or of the pre-trained model on all (`task` None)."""
        if task is None:
            return self._evaluation("pretrained", {"coefficients": [0.0]}, [], self.tasks)
        label = task if task == ALL_TASKS else f"individual_{task}"
        return self._evaluation(label, {"coefficients": [1.0]}, [self.task_vector(task)], self._tasks_of(task))

    @cached_property
    def references(self) -> dict[str, list[Planned]]:
        """The rows that are no merges."""
        rows = {"Pre-trained": [self.reference(None)], "Individual": [self.reference(task) for task in self.tasks]}
        return rows | ({"Traditional MTL": [self.reference(ALL_TASKS)]} if self.config.multitask else {})

    @cached_property
    def table(self) -> Planned:
        """The methods table: all rows in the order they are shown."""
        references = [planned for row in self.references.values() for planned in row]
        merges = {planned.name: planned for planned in map(self.evaluation, self.config.merges)}
        return self._add("tables", self.config.name, {}, {"references": references, "merges": [*merges.values()]})

    @cached_property
    def figures(self) -> Planned:
        """Plots of the table."""
        return self._add("figures", self.config.name, {}, {"table": [self.table]})

    @cached_property
    def exports(self) -> list[Planned]:
        """Every merge as a checkpoint for open_clip, made only when asked for."""
        return [self._export(merge) for merge in self.config.merges]

    def _export(self, merge: Merge) -> Planned:
        evaluation = self.evaluation(merge)
        written = merge.model_dump(mode="json", include={"method", "settings", "trust_region", "surgery"})
        inputs = {
            "pretrained": [self.pretrained],
            "evaluation": [evaluation],
            "directions": evaluation.inputs["directions"],
            "surgery": evaluation.inputs["surgery"],
        }
        return self._add("export", evaluation.label, written | {"row": merge.row_name, "tasks": self.tasks}, inputs)

    def _evaluation(
        self,
        label: str,
        settings: Mapping[str, Any],
        directions: Sequence[Planned],
        tasks: Sequence[str],
        surgery: Sequence[Planned] = (),
    ) -> Planned:
        inputs = {
            "pretrained": [self.pretrained],
            "directions": directions,
            "surgery": surgery,
            "heads": [self.head(task) for task in tasks],
            "images": [self.images(task) for task in tasks],
        }
        return self._add("evaluate", label, settings, inputs)

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

    def _needs(self, merge: Merge, tau: float | None) -> dict[str, list[Planned]]:
        """What the merge's method reads beside task vectors, by role."""
        needs = load(merge.method).needs
        count = merge.settings.get("exemplars", 0)
        return {
            "pretrained": [self.pretrained] if "layout" in needs else [],
            "fishers": [self.fisher(task, count) for task in self.tasks] if "fishers" in needs else [],
            "grams": [self.gram(task, count) for task in self.tasks] if "grams" in needs else [],
            "coefficients": [self.adapt(merge, tau)] if "coefficients" in needs else [],
        }

    def _masks(self, merge: Merge, tau: float | None) -> list[Planned]:
        return [] if merge.trust_region is None or tau is None else [self.mask(merge.trust_region, tau)]

    @property
    def _task_vectors(self) -> list[Planned]:
        return [self.task_vector(task) for task in self.tasks]

    def _tasks_of(self, task: str) -> list[str]:
        return self.tasks if task == ALL_TASKS else [task]

    def _seen_by(self, *tasks: str) -> dict[str, list[Planned]]:
        heads, images = [self.head(task) for task in tasks], [self.images(task) for task in tasks]
        return {"pretrained": [self.pretrained], "head": heads, "images": images}

    def _seeded(self, recipe: Recipe) -> dict[str, Any]:
        settings = recipe.model_dump(mode="json")
        return settings | {"seed": self.config.seed if recipe.seed is None else recipe.seed}

    def _exemplars(self, task: str, count: int) -> dict[str, Any]:
        seed = self.config.exemplars.seed
        return {"task": task, "count": count, "seed": self.config.seed if seed is None else seed}

    def _count(self, region: TrustRegion) -> int:
        return region.exemplars or self.config.exemplars.count

    def _region_label(self, region: TrustRegion) -> str:
        return f"gradient_n-{self._count(region)}" if region.sensitivity == "gradient" else "zero_shot"

    def _merge_label(self, merge: Merge, tau: float | str | None) -> str:
        settings = "".join(f"_{key}-{value}" for key, value in merge.own_settings.items())
        region = merge.trust_region
        shown = f"{tau:g}" if isinstance(tau, float) else tau
        return f"{merge.method}{settings}{f'+{self._region_label(region)}_tau-{shown}' if region else ''}"
