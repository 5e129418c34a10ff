"""The tasks' classifiers, which lie beside an exported model: heads, class names and prompts."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tatr.errors import TatrError

Head = TypeVar("Head")

HEADS = "heads.safetensors"
"""Per task, its head's weights."""
TASKS = "tasks.json"
"""Per task, its class names in the order of the head's rows, its prompts, and whether it was merged."""


class Classifier(NamedTuple):
    """What tells a task's classes by image features."""

    classnames: Sequence[str]
    """C names, in the order of the head's rows."""
    templates: Sequence[str]
    """Prompts that the head was made from, with `{}` where the name goes."""
    head: np.ndarray
    """Weights float32 [C, D], exp(logit scale) included."""


def of_tasks(tasks: Collection[str], heads: Mapping[str, Head], where: str) -> dict[str, Head]:
    """The heads of the tasks that were measured, in their order.

    Raises:
        TatrError: there is none for a task.
    """
    if lacking := [task for task in tasks if task not in heads]:
        raise TatrError(f"--heads: none is of task '{lacking[0]}', which {where} measured; give those of all its tasks")
    return {task: heads[task] for task in tasks}


def described(classifiers: Mapping[str, Classifier], merged: Collection[str]) -> dict[str, dict[str, Any]]:
    """What `tasks.json` says."""
    return {
        task: {"classnames": [*one.classnames], "templates": [*one.templates], "merged": task in merged}
        for task, one in classifiers.items()
    }
