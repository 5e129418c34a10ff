"""What merges are made from, planned: backbone, images, heads, individual models, and what is measured on them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tatr.clip.model_configs import image_size
from tatr.config.models import Config
from tatr.config.tasks import HubTask, RealTask
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.weights.fingerprint import fingerprint
from tatr.weights.importing.provenance import zero_shot_beside
from tatr.workflow.plan.backbone_source import Found, find
from tatr.workflow.plan.planned import Planned

ALL_TASKS = "all-tasks"
"""Stands for a task's name where a model is trained on all of them; no task can be called so."""


@dataclass
class Ingredients:
    """The artefacts of a configuration that do not depend on its merges, made on demand."""

    config: Config
    backbones: Path
    """Where named backbones are."""
    _found: dict[tuple[str, str], Planned] = field(default_factory=dict)

    @cached_property
    def tasks(self) -> list[str]:
        """The suite in alphabetical order: results do not depend on the order in which a person lists it."""
        return sorted(self.config.suite)

    @cached_property
    def backbone(self) -> Found:
        """The backbone, before its weights are taken over."""
        return find(self.config.backbone, self.backbones)

    @cached_property
    def pretrained(self) -> Planned:
        """θ_pre, the text encoder and the model config."""
        found = self.backbone
        downloaded = [self._add("download", found.label, found.fetch)] if found.fetch else []
        return self._add("backbone", found.label, found.settings, {"download": downloaded})

    @cached_property
    def pretrain(self) -> Planned | None:
        """The backbone made anew, if it comes with a recipe. Nothing depends on it: the shipped weights do."""
        found = self.backbone
        if found.recipe is None:
            return None
        return self._add(
            "pretraining", found.label, {"model": found.model, "recipe": json.loads(found.recipe.read_text())}
        )

    def images(self, task: str) -> Planned:
        """Decoded images of a task."""
        config, size = self.config.tasks[task], image_size(self.backbone.model)
        settings = config.model_dump(exclude={"templates", "paper"}) | {"task": task, "size": size}
        if isinstance(config, RealTask):
            settings["resize"] = self.backbone.resize
        modules = [f"tatr.data.sources.{config.source}"]
        modules += [f"tatr.data.tiny8.{task}"] if config.source == "tiny8" else []
        return self._add("images", task, settings, {"download": self._downloaded(task)}, modules)

    def _downloaded(self, task: str) -> list[Planned]:
        """What a task's images are downloaded from, if they are."""
        config = self.config.tasks[task]
        if not isinstance(config, HubTask) or config.root:
            return []
        settings = config.model_dump(include={"dataset", "config", "revision", "train", "test"})
        return [self._add("download", config.dataset.replace("/", "-"), settings)]

    def head(self, task: str) -> Planned:
        """Zero-shot classifier of a task."""
        config = self.config.tasks[task]
        settings = {"task": task, "classnames": config.classnames, "templates": config.templates}
        # Classes that the config does not list are read off the images' folders.
        images = [] if config.classnames else [self.images(task)]
        return self._add("head", task, settings, {"backbone": [self.pretrained], "images": images})

    def finetuned(self, task: str) -> Planned:
        """θ_k of a task, trained or imported; or one model trained on all tasks."""
        if task == ALL_TASKS:
            return self._trained(task, self.config.multitask_finetuning)
        origin = self.config.finetuned.of(task, self.paper_name(task))
        if origin.source == "train":
            return self._trained(task, self.config.finetuning_of(task))
        settings: dict[str, Any] = {"task": task, "file": None, "zero_shot": None}
        downloaded = []
        if origin.source == "hub":
            repository = {"repository": origin.repository, "revision": origin.revision}
            downloaded = [self._add("download", str(origin.repository).replace("/", "-"), repository)]
        else:
            settings |= self._files(task, Path(str(origin.path)).expanduser(), origin.zero_shot)
        return self._add("checkpoint", task, settings, {"backbone": [self.pretrained], "download": downloaded})

    def _files(self, task: str, path: Path, zero_shot: str | None) -> dict[str, Any]:
        """A checkpoint on disk and the zero-shot copy it came with: their paths, and what tells them from others."""
        key = f"finetuned (task {task})"
        beside = zero_shot_beside(path) if path.exists() else None
        copy = Path(zero_shot).expanduser() if zero_shot else beside
        prints = [fingerprint(file, f"{key}: {role}") for role, file in (("path", path), ("zero_shot", copy)) if file]
        return {"file": str(path), "zero_shot": str(copy) if copy else None, "fingerprint": prints}

    def _trained(self, task: str, recipe: FineTuning) -> Planned:
        return self._add("finetuning", task, asdict(recipe), self._seen_by(*self._tasks_of(task)))

    def task_vector(self, task: str) -> Planned:
        """Δ_k of a task."""
        inputs = {"backbone": [self.pretrained], "finetuned": [self.finetuned(task)]}
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

    def paper_name(self, task: str) -> str | None:
        """What the paper calls a task, if it has it."""
        return getattr(self.config.tasks[task], "paper", None)

    @property
    def _task_vectors(self) -> list[Planned]:
        return [self.task_vector(task) for task in self.tasks]

    def _tasks_of(self, task: str) -> list[str]:
        return self.tasks if task == ALL_TASKS else [task]

    def _seen_by(self, *tasks: str) -> dict[str, list[Planned]]:
        heads, images = [self.head(task) for task in tasks], [self.images(task) for task in tasks]
        return {"backbone": [self.pretrained], "head": heads, "images": images}

    def _exemplars(self, task: str, count: int) -> dict[str, Any]:
        seed = self.config.exemplars.seed
        return {"task": task, "count": count, "seed": self.config.seed if seed is None else seed}

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
