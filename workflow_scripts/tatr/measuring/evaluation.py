"""Accuracy of θ_pre + λ·v on every task; λ and τ chosen on validation, the table's figures read on test."""

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.correction import Module, corrected
from tatr.clip.encoder import Encoder, check_precision, encode
from tatr.data.batches import batches
from tatr.data.read_ahead import one_behind
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.measuring.predictions import Predictions
from tatr.progress import progress
from tatr.vectors.apply import apply
from tatr.vectors.vector import Vector, whole

logger = logging.getLogger("tatr")

BATCH = 256
"""Images encoded at once; twice as many are in memory (38 MiB each at 224 × 224)."""


@dataclass(frozen=True)
class Candidate:
    """One of the merged models among which validation chooses."""

    direction: int
    """Which of the directions."""
    tau: float | None
    coefficient: float


class Evaluated(NamedTuple):
    """What is known of a model after it was evaluated."""

    scores: dict[str, Any]
    """`coefficient` (λ), `tau` (None if there was no choice) and `direction` (its index); `search` (per candidate, the
    mean validation accuracy); `scores` (per task: correct answers, images, accuracy in [0, 1], mean loss in nats, and
    skipped: images that could not be decoded and are not counted in the others); `average` (mean accuracy over
    tasks, but the unseen ones) and, where there are some, `unseen_average`."""
    predictions: dict[str, Predictions]
    """Per task, of its test images."""


def evaluate(
    encoder: Encoder,
    directions: Sequence[Vector],
    tasks: Sequence[Task],
    coefficients: Sequence[float],
    device: str,
    taus: Sequence[float] = (),
    surgery: Mapping[str, Module] | None = None,
    precision: str = "fp32",
    unseen: Collection[str] = (),
) -> Evaluated:
    """Choose λ and τ on the validation splits (if there is a choice) and measure accuracy on the test splits.

    Args:
        encoder: θ_pre.
        directions: v, each float32 [N]; one per candidate for τ; none evaluates θ_pre itself.
        tasks: heads and images.
        coefficients: candidates for λ.
        device: for torch.
        taus: τ of each direction, where there are several.
        surgery: per task, the module that corrects its features.
        precision: of the image encoder, "fp32", "tf32" or "bf16" (see `tatr.clip.encoder.encode`).
        unseen: names of tasks that only the test figures are about: no choice looks at their validation split.

    Raises:
        TatrError: not one τ per direction, an empty split, outputs that are not finite, no module for a task, or no
            task that is not unseen.
    """
    if len(directions) > 1 and len(taus) != len(directions):
        raise TatrError(f"{len(directions)} directions but {len(taus)} values of tau; give one per direction, in order")
    if lacking := [task.name for task in tasks if surgery and task.name not in surgery]:
        raise TatrError(f"surgery: has no module for task '{lacking[0]}'; it has {', '.join(surgery or ())}")
    check_precision(precision)
    if not (seen := [task for task in tasks if task.name not in unseen]):
        raise TatrError("unseen: names all tasks that are evaluated; leave out those that are merged")
    models = Models(encoder, directions, device, surgery or {}, precision)
    candidates = [
        Candidate(index, taus[index] if taus else None, coefficient)
        for index in range(max(1, len(directions)))
        for coefficient in coefficients
    ]
    search: list[dict[str, Any]] = []
    for candidate in progress(candidates, "choosing on validation") if len(candidates) > 1 else ():
        validation = _average(_predictions(models, candidate, seen, "validation"))
        search.append({"tau": candidate.tau, "coefficient": candidate.coefficient, "validation": validation})
        logger.info("tau %s, coefficient %g: %.4f on validation", candidate.tau, candidate.coefficient, validation)
    # Of equals, the merge that stays closest to θ_pre: the smallest λ, then the largest τ.
    order = [(-row["validation"], c.coefficient, -(c.tau or 0)) for row, c in zip(search, candidates, strict=False)]
    best = candidates[order.index(min(order))] if order else candidates[0]
    predictions = _predictions(models, best, tasks, "test")
    scores = {task.name: _score(predictions[task.name]) | {"skipped": task.skipped} for task in tasks}
    found = {**asdict(best), "search": search, "scores": scores, "average": _average(_of(seen, predictions))}
    if others := [task for task in tasks if task.name in unseen]:
        found["unseen_average"] = _average(_of(others, predictions))
    return Evaluated(found, predictions)


@dataclass(frozen=True)
class Models:
    """The candidates θ_pre + λ·v, one at a time in memory."""

    encoder: Encoder
    directions: Sequence[Vector]
    device: str
    surgery: Mapping[str, Module]
    precision: str

    def parameters(self, candidate: Candidate) -> clip.Parameters:
        """A candidate's tensors."""
        flat = self.encoder.flat
        if self.directions:
            flat = whole(apply(flat, self.directions[candidate.direction], candidate.coefficient))
        return clip.to_tensors(self.encoder.layout.unflatten(flat), self.device)

    @torch.no_grad()
    def logits(self, parameters: clip.Parameters, task: Task, images: Tensor) -> Tensor:
        """Class scores [B, C] of images uint8 [B, H, W, 3]."""
        pixels = clip.normalise(images, self.encoder.architecture, self.device)
        features = encode(parameters, pixels, self.encoder.architecture, self.precision)
        if task.name in self.surgery:
            features = corrected(features, *self.surgery[task.name])
        return clip.scores(features, task.head)


def _predictions(models: Models, candidate: Candidate, tasks: Sequence[Task], split: str) -> dict[str, Predictions]:
    parameters, found = models.parameters(candidate), {}
    for task in tasks:
        images, labels = task.split(split)
        if not len(images):
            raise TatrError(f"{task.images}: the {split} split is empty; accuracy can't be measured")
        start = time.perf_counter()
        outputs = (models.logits(parameters, task, batch) for batch in batches(images, BATCH, models.device))
        answers = (
            _answers(logits, labels[first : first + BATCH], task)
            for first, logits in zip(range(0, len(images), BATCH), one_behind(outputs), strict=True)
        )
        predictions = Predictions.joined(answers, labels)
        rate = len(images) / (time.perf_counter() - start)
        logger.info("%s: %.4f on %s, %.0f images/s", task.name, predictions.right.mean(), split, rate)
        found[task.name] = predictions
    return found


def _answers(logits: Tensor, labels: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """The predicted classes and the losses, each [B]; waits for a GPU."""
    if not logits.isfinite().all():
        raise TatrError(f"{task.name}: the model's outputs are not finite; the merge's coefficient may be too large")
    losses = F.cross_entropy(logits.float(), torch.from_numpy(labels).to(logits.device), reduction="none")
    return logits.argmax(dim=-1).cpu().numpy(), losses.cpu().numpy()


def _score(predictions: Predictions) -> dict[str, float]:
    """Of one task's test images."""
    correct, images = int(predictions.right.sum()), len(predictions)
    loss = float(predictions.losses.mean(dtype=np.float64))
    return {"correct": correct, "images": images, "accuracy": correct / images, "loss": loss}


def _of(tasks: Iterable[Task], predictions: Mapping[str, Predictions]) -> dict[str, Predictions]:
    return {task.name: predictions[task.name] for task in tasks}


def _average(predictions: Mapping[str, Predictions]) -> float:
    """Mean accuracy over tasks."""
    return sum(float(of_task.right.mean()) for of_task in predictions.values()) / len(predictions)
