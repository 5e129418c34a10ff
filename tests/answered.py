"""Scores and answers of models that never were, for tests of tables."""

from typing import Any

import numpy as np

from tatr.measuring.predictions import Predictions


def scores(coefficient: float, **accuracies: float) -> dict[str, Any]:
    return {
        "coefficient": coefficient,
        "tau": None,
        "search": [],
        "scores": {task: {"accuracy": accuracy} for task, accuracy in accuracies.items()},
    }


def answered(seed: int = 0, images: int = 1000, **accuracies: float) -> dict[str, Predictions]:
    """Answers with these accuracies; which images are right depends on the seed."""
    found = {}
    for index, (task, accuracy) in enumerate(accuracies.items()):
        right = np.random.default_rng([seed, index]).permutation(images) < round(accuracy * images)
        labels = np.zeros(images, np.int32)
        found[task] = Predictions((~right).astype(np.int32), labels, np.ones(images, np.float32))
    return found


def answers_of(evaluations: dict[str, Any]) -> dict[str, dict[str, Predictions]]:
    return {
        name: answered(**{task: score["accuracy"] for task, score in result["scores"].items()})
        for name, result in evaluations.items()
    }
