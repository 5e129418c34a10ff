"""Planned: the backbone, images and heads, and the individual models. Nothing here depends on a merge."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tatr.clip.model_configs import image_size
from tatr.config.tasks import HubTask, RealTask
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.weights.fingerprint import fingerprint
from tatr.weights.importing.provenance import zero_shot_copy_of
from tatr.workflow.plan.artefacts import Draft, Planned, once

ALL_TASKS = "all-tasks"
"""Stands for a task's name where a model is trained on all of them; no task can be called so."""


@once
def backbone(draft: Draft) -> Planned:
    """θ_pre, the text encoder and the model config."""
    source = draft.source
    downloads = [draft.add("download", source.label, source.download)] if source.download else []
    return draft.add("backbone", source.label, source.settings, {"download": downloads})


def pretraining(draft: Draft) -> Planned | None:
    """The backbone made again, if it comes with a recipe. Nothing depends on it: all use the shipped weights."""
    if draft.source.recipe is None:
        return None
    recipe = json.loads(draft.source.recipe.read_text(encoding="utf-8"))
    return draft.add("pretraining", draft.source.label, {"model": draft.source.model, "recipe": recipe})


@once
def images(draft: Draft, task: str) -> Planned:
    """Decoded images of a task."""
    config = draft.config.tasks[task]
    # What prompts call the classes is the head's: the images stay when a name changes.
    settings = config.model_dump(exclude={"templates", "paper", "classnames"})
    settings |= {"task": task, "size": image_size(draft.source.model)}
    if isinstance(config, RealTask):
        settings["resize"] = draft.source.resize
    else:
        settings["source_classnames"] = config.source_classnames or config.classnames
    modules = [f"tatr.data.sources.{config.source}"]
    modules += [f"tatr.data.tiny8.{task}"] if config.source == "tiny8" else []
    return draft.add("images", task, settings, {"download": _downloads(draft, task)}, modules)


def _downloads(draft: Draft, task: str) -> list[Planned]:
    """The download of a task's images, if they are downloaded."""
    config = draft.config.tasks[task]
    if not isinstance(config, HubTask) or config.root:
        return []
    settings = config.model_dump(include={"dataset", "config", "revision", "train", "test"})
    return [draft.add("download", config.dataset.replace("/", "-"), settings)]


@once
def head(draft: Draft, task: str) -> Planned:
    """Zero-shot classifier of a task."""
    config = draft.config.tasks[task]
    settings = {"task": task, "classnames": config.classnames, "templates": config.templates}
    # Classes that the config does not list are read off the images' folders.
    images_of_task = [] if config.classnames else [images(draft, task)]
    return draft.add("head", task, settings, {"backbone": [backbone(draft)], "images": images_of_task})


@once
def finetuned(draft: Draft, task: str) -> Planned:
    """θ_k of a task, trained or imported; or one model trained on all tasks."""
    config = draft.config
    if task == ALL_TASKS:
        return _finetuning(draft, task, config.multitask_finetuning)
    origin = config.checkpoints.of(task, paper_name(draft, task))
    if origin.origin == "train":
        return _finetuning(draft, task, config.finetuning_of(task))
    settings: dict[str, Any] = {"task": task, "file": None, "zero_shot": None}
    downloads = []
    if origin.origin == "hub":
        repository = {"repository": origin.repository, "revision": origin.revision}
        downloads = [draft.add("download", str(origin.repository).replace("/", "-"), repository)]
    else:
        settings |= _files(draft, task, Path(str(origin.path)).expanduser(), origin.zero_shot)
    return draft.add("checkpoint", task, settings, {"backbone": [backbone(draft)], "download": downloads})


def _files(draft: Draft, task: str, path: Path, zero_shot: str | None) -> dict[str, Any]:
    """A checkpoint on disk and the zero-shot copy it came with: their paths, and fingerprints. What is missing is
    noted.
    """
    key = f"checkpoints (task {task})"
    copy = Path(zero_shot).expanduser() if zero_shot else zero_shot_copy_of(path) if path.exists() else None
    prints = []
    for role, file in (("path", path), ("zero_shot", copy)):
        if file:
            with draft.problems.noting():
                prints.append(fingerprint(file, f"{key}: {role}"))
    return {"file": str(path), "zero_shot": str(copy) if copy else None, "fingerprint": prints}


def _finetuning(draft: Draft, task: str, recipe: FineTuning) -> Planned:
    tasks = draft.tasks if task == ALL_TASKS else [task]
    inputs = {
        "backbone": [backbone(draft)],
        "heads": [head(draft, one) for one in tasks],
        "images": [images(draft, one) for one in tasks],
    }
    return draft.add("finetuning", task, asdict(recipe), inputs)


@once
def task_vector(draft: Draft, task: str) -> Planned:
    """Δ_k of a task."""
    inputs = {"backbone": [backbone(draft)], "finetuned": [finetuned(draft, task)]}
    return draft.add("task_vector", task, {"task": task}, inputs)


def paper_name(draft: Draft, task: str) -> str | None:
    """What the paper calls a task, if it has it."""
    return getattr(draft.config.tasks[task], "paper", None)
