"""The published sets of fine-tuned CLIP models, and what individual models reach. Only the plan uses this, no job.

docs/weights/checkpoint-sets.md says where each set and its figures come from.
"""

import csv
from functools import cache
from pathlib import Path

LEAKED = {"TALL-masks": ("dtd",)}
"""Per set, the tasks whose test images are among its training images."""


@cache
def individual_models(backbone: str) -> dict[str, dict[str, float]]:
    """Per set, test accuracies of its individual models in percent, by task as the suites call it.

    Args:
        backbone: one of the three that the sets have: ViT-B-32, ViT-B-16 or ViT-L-14.
    """
    with (Path(__file__).parent / "individual.csv").open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line.pop("backbone") == backbone]
    return {line.pop("set"): {task: float(value) for task, value in line.items() if value} for line in lines}


def task_of_sets(task: str, paper: str | None) -> str:
    """What the sets call a task.

    Args:
        task: as the configuration calls it.
        paper: what the paper's tables call it, if they have it.
    """
    if paper is None:
        return task
    return "stanford_cars" if paper == "Cars" else paper.lower()
