"""Planned: what is measured on the exemplars of a task."""

from dataclasses import asdict
from typing import Any

from tatr.training.recipes.landscape import Landscape
from tatr.workflow.plan.artefacts import Draft, Planned, once
from tatr.workflow.plan.ingredients import ALL_TASKS, backbone, finetuned, head, images, task_vector


@once
def gradient(draft: Draft, task: str) -> Planned:
    """G_k of a task, at θ_pre: in one pass for all numbers of exemplars that the configuration asks for."""
    counts, seed = draft.config.gradient_counts, draft.config.exemplars_of().seed
    inputs = {"backbone": [backbone(draft)], "head": [head(draft, task)], "images": [images(draft, task)]}
    label = f"{task}_n-{'-'.join(map(str, counts))}"
    return draft.add("gradient", label, {"task": task, "counts": counts, "seed": seed}, inputs)


@once
def signed_gradient(draft: Draft, task: str, count: int) -> Planned:
    """∇L_k of a task, at θ_pre. A stage beside `gradient`, so that what asks for it later renames nothing there."""
    inputs = {"backbone": [backbone(draft)], "head": [head(draft, task)], "images": [images(draft, task)]}
    return draft.add("signed_gradient", f"{task}_n-{count}", _exemplars(draft, task, count), inputs)


@once
def fisher(draft: Draft, task: str, count: int) -> Planned:
    """Fisher information of a task, at θ_k."""
    inputs = _at_finetuned(draft, task) | {"head": [head(draft, task)]}
    return draft.add("fisher", f"{task}_n-{count}", _exemplars(draft, task, count), inputs)


@once
def gram(draft: Draft, task: str, count: int) -> Planned:
    """Gram matrices of the inputs of a task's linear maps, at θ_k."""
    return draft.add("gram", f"{task}_n-{count}", _exemplars(draft, task, count), _at_finetuned(draft, task))


@once
def merged_gram(draft: Draft, count: int, off_diagonal: float, weights: tuple[tuple[str, float], ...] = ()) -> Planned:
    """Gram matrices of the inputs that linear maps have behind the suite's merged blocks, of all tasks."""
    inputs = {
        "backbone": [backbone(draft)],
        "task_vectors": [task_vector(draft, task) for task in draft.tasks],
        "images": [images(draft, task) for task in draft.tasks],
    }
    settings = asdict(draft.config.exemplars_of(count)) | {"off_diagonal": off_diagonal}
    settings |= {"weights": dict(weights)} if weights else {}
    label = f"n-{count}_off_diagonal-{off_diagonal:g}" + "".join(f"_{task}-{weight:g}" for task, weight in weights)
    return draft.add("merged_gram", label, settings, inputs)


@once
def landscape(draft: Draft, task: str | None, recipe: Landscape) -> Planned:
    """Losses around the components of the other tasks' vectors, for a task; of all vectors, for all tasks (None)."""
    count = draft.config.exemplars_of().count
    measured = draft.tasks if task is None else [task]
    inputs = {
        "backbone": [backbone(draft)],
        "task_vectors": [task_vector(draft, other) for other in draft.tasks if other != task],
        "signed_gradients": [signed_gradient(draft, one, count) for one in measured],
        "heads": [head(draft, one) for one in measured],
        "images": [images(draft, one) for one in measured],
    }
    label = f"{task or ALL_TASKS}_tau-{recipe.tau:g}_lambda-{recipe.coefficient:g}"
    return draft.add("landscape", label, {"task": task} | asdict(recipe), inputs)


def _at_finetuned(draft: Draft, task: str) -> dict[str, list[Planned]]:
    return {"backbone": [backbone(draft)], "finetuned": [finetuned(draft, task)], "images": [images(draft, task)]}


def _exemplars(draft: Draft, task: str, count: int) -> dict[str, Any]:
    return {"task": task} | asdict(draft.config.exemplars_of(count))
