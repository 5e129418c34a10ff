"""Accuracy of θ_pre + λ·v on every task; λ chosen on validation, the table's figures read on test."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tatr import clip
from tatr.encoders import Encoder, Task
from tatr.errors import TatrError
from tatr.progress import progress

logger = logging.getLogger("tatr")

BATCH = 256


def evaluate(
    encoder: Encoder, direction: np.ndarray | None, tasks: Sequence[Task], coefficients: Sequence[float], device: str
) -> dict[str, Any]:
    """Choose λ on the validation splits (if there is a choice) and measure accuracy on the test splits.

    Args:
        encoder: θ_pre.
        direction: v, float32 [N]; None evaluates θ_pre itself.
        tasks: heads and images.
        coefficients: candidates for λ; one means no search.
        device: for torch.

    Returns:
        `coefficient` (λ), `search` (per candidate, the mean validation accuracy), `scores` (per task: correct
        answers, images, accuracy in [0, 1]) and `average` (mean accuracy over tasks).
    """
    search = []
    if len(coefficients) > 1:
        for coefficient in progress(coefficients, "choosing the coefficient"):
            scores = _scores(encoder, direction, coefficient, tasks, "validation", device)
            search.append({"coefficient": coefficient, "validation": _mean(scores)})
            logger.info("coefficient %g: %.4f on validation", coefficient, search[-1]["validation"])
    # The smallest of equals: the merge that stays closest to θ_pre.
    best = min(search, key=lambda row: (-row["validation"], row["coefficient"]))["coefficient"] if search else None
    coefficient = coefficients[0] if best is None else best
    scores = _scores(encoder, direction, coefficient, tasks, "test", device)
    return {"coefficient": coefficient, "search": search, "scores": scores, "average": _mean(scores)}


@torch.no_grad()
def _scores(
    encoder: Encoder, direction: np.ndarray | None, coefficient: float, tasks: Sequence[Task], split: str, device: str
) -> dict[str, dict[str, float]]:
    flat = encoder.flat if direction is None else encoder.flat + np.float32(coefficient) * direction
    parameters = clip.to_tensors(encoder.layout.unflatten(flat), device)
    scores = {}
    for task in tasks:
        images, labels = task.split(split)
        if not len(images):
            raise TatrError(f"{task.images}: the {split} split is empty; accuracy can't be measured")
        correct = sum(
            _correct(encoder, task, parameters, images[start : start + BATCH], labels[start : start + BATCH], device)
            for start in range(0, len(images), BATCH)
        )
        scores[task.name] = {"correct": correct, "images": len(images), "accuracy": correct / len(images)}
        logger.info("%s: %.4f on %s", task.name, scores[task.name]["accuracy"], split)
    return scores


def _correct(
    encoder: Encoder, task: Task, parameters: clip.Parameters, images: np.ndarray, labels: np.ndarray, device: str
) -> int:
    pixels = clip.normalise(images, encoder.architecture, device)
    found = clip.logits(parameters, pixels, task.head, encoder.architecture)
    if not found.isfinite().all():
        raise TatrError(f"{task.name}: the model's outputs are not finite; the merge's coefficient may be too large")
    return int((found.argmax(dim=-1).cpu().numpy() == labels).sum())


def _mean(scores: Mapping[str, Mapping[str, float]]) -> float:
    return sum(score["accuracy"] for score in scores.values()) / len(scores)
