"""Loss landscapes on the plane through θ_pre + Δ⊥, θ_pre + Δ⁺ and θ_pre + Δ⁻ (App. B of arXiv 2501.15065).

Δ⊥, Δ⁺ and Δ⁻ are the components of λ·v (`tatr.merging.components`). The point (x, y) is
θ_pre + (1 − x − y)·Δ⊥ + x·Δ⁺ + y·Δ⁻: Δ⊥ at the origin, Δ⁺ and Δ⁻ at the ends of the two axes.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder, encode
from tatr.data.exemplars import draw_exemplars, read_exemplars
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.progress import progress
from tatr.training.recipes.landscape import Landscape
from tatr.training.resume import Saved
from tatr.vectors.layout import Layout, blocks
from tatr.vectors.vector import Vector, read, whole

BEGIN, END = -0.2, 1.2
"""Of both axes."""

BATCH = 256
"""Images encoded at once."""

logger = logging.getLogger("tatr")


class Terrain(NamedTuple):
    """What is known of a landscape after it was measured."""

    points: list[dict[str, Any]]
    """Per point and task: `x`, `y`, `task`, `loss` (mean cross-entropy in nats), `accuracy` (in [0, 1])."""
    plane: dict[str, Any]
    """`pretrained`: `x`, `y` of the plane's point nearest to θ_pre, and their `distance`; `lengths`: of the components
    of λ·v, and `parameters`: how many each has; `images`: per task."""


def coordinates(steps: int) -> list[float]:
    """The coordinates of points along an axis."""
    return [round(BEGIN + (END - BEGIN) * step / (steps - 1), 6) for step in range(steps)]


def measure_landscape(
    encoder: Encoder,
    vector: Vector,
    signs: Vector,
    tasks: Sequence[Task],
    recipe: Landscape,
    device: str,
    saved: Saved,
) -> Terrain:
    """Losses of tasks at the points of the plane, on the first test images of one draw.

    Args:
        encoder: θ_pre.
        vector: v, float32 [N].
        signs: which component each entry of v belongs to (`tatr.merging.components.signs_of_products`), int8 [N].
        tasks: heads and images.
        recipe: where, and on how many images.
        device: for torch.
        saved: where the losses so far are kept, so that a killed job goes on.

    Raises:
        TatrError: no entry is positive or none is negative, a test split is empty, or outputs are not finite.
    """
    plane = Plane.of(encoder, vector, signs, recipe.coefficient, device)
    share = max(1, recipe.images // max(1, len(tasks)))
    samples = [_sample(task, share, recipe.seed, device) for task in tasks]
    axis = coordinates(recipe.steps)
    points = [(x, y) for x in axis for y in axis]
    measured = torch.full((len(points), len(tasks), 2), torch.nan, dtype=torch.float64)
    if state := saved.read():
        measured.copy_(state["measured"])
    done = int(measured.isfinite().all(dim=(1, 2)).sum()) if len(tasks) else 0
    logger.info("%d of %d points are measured", done, len(points))
    for index in progress(range(done, len(points)), "landscape"):
        parameters = plane.parameters(*points[index])
        for column, sample in enumerate(samples):
            measured[index, column] = torch.tensor(_measured(encoder, parameters, sample), dtype=torch.float64)
        saved.write(lambda: {"measured": measured})
    lines = [
        {"x": x, "y": y, "task": task.name, "loss": loss, "accuracy": accuracy}
        for (x, y), of_point in zip(points, measured.tolist(), strict=True)
        for task, (loss, accuracy) in zip(tasks, of_point, strict=True)
    ]
    images = {sample.task.name: len(sample.labels) for sample in samples}
    return Terrain(lines, plane.described() | {"images": images})


@dataclass(frozen=True)
class Plane:
    """The plane: θ_pre and λ·v on the device, and the few entries of v that are not orthogonal."""

    layout: Layout
    pretrained: Tensor
    """θ_pre, float32 [N]."""
    moved: Tensor
    """λ·v, float32 [N]."""
    positive: Tensor
    """Places of the positive component's entries, int64."""
    negative: Tensor
    lengths: tuple[float, float, float]
    """Of Δ⊥, Δ⁺ and Δ⁻."""

    @classmethod
    def of(cls, encoder: Encoder, vector: Vector, signs: Vector, coefficient: float, device: str) -> "Plane":
        """The plane of λ·v.

        Raises:
            TatrError: two of the components are zero, which makes it a line.
        """
        moved = whole(vector)
        moved *= np.float32(coefficient)
        squares, places = np.zeros(3), dict[int, list[np.ndarray]]({1: [], -1: []})
        for block, its in zip(blocks(len(signs)), read(signs), strict=True):
            values = moved[block].astype(np.float64) ** 2
            squares += [values[its == sign].sum() for sign in (0, 1, -1)]
            for sign, found in places.items():
                found.append(np.flatnonzero(its == sign) + block.start)
        if np.count_nonzero(squares) < 2:
            raise TatrError(
                "landscape: two of v's three components are zero, so that they span no plane; a larger tau takes more "
                "parameters into the positive and the negative one"
            )
        positive, negative = (torch.from_numpy(np.concatenate(places[sign])).to(device) for sign in (1, -1))
        flat, moves = (torch.from_numpy(values).to(device) for values in (encoder.flat, moved))
        orthogonal, up, down = np.sqrt(squares).tolist()
        return cls(encoder.layout, flat, moves, positive, negative, (orthogonal, up, down))

    def parameters(self, x: float, y: float) -> clip.Parameters:
        """The encoder at a point of the plane."""
        flat = self.pretrained + (1 - x - y) * self.moved
        for places, factor in ((self.positive, x), (self.negative, y)):
            flat[places] = self.pretrained[places] + factor * self.moved[places]
        return {p.name: flat[p.offset : p.stop].view(p.shape) for p in self.layout.parameters}

    def nearest(self) -> tuple[float, float, float]:
        """Coordinates x and y of the plane's point that is nearest to θ_pre, and the distance: least squares.

        The components have no entry in common, so |(1 − x − y)·Δ⊥ + x·Δ⁺ + y·Δ⁻|² has no mixed terms, and is smallest
        where each factor is proportional to 1 / length².
        """
        orthogonal, up, down = (length**2 for length in self.lengths)
        weights = np.array([up * down, orthogonal * down, orthogonal * up])
        first, x, y = (weights / weights.sum()).tolist()
        return x, y, float(np.sqrt(first**2 * orthogonal + x**2 * up + y**2 * down))

    def described(self) -> dict[str, Any]:
        """What `Terrain.plane` says of it."""
        names, counts = ("orthogonal", "positive", "negative"), [len(self.positive), len(self.negative)]
        return {
            "pretrained": dict(zip(("x", "y", "distance"), self.nearest(), strict=True)),
            "lengths": dict(zip(names, self.lengths, strict=True)),
            "parameters": dict(zip(names, [self.layout.size - sum(counts), *counts], strict=True)),
        }


class _Sample(NamedTuple):
    """Test images of a task, which stay in memory."""

    task: Task
    images: Tensor
    """uint8 [n, H, W, 3]."""
    labels: Tensor
    """int64 [n]."""

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels, a few at a time."""
        yield from zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True)


def _sample(task: Task, count: int, seed: int, device: str) -> _Sample:
    images, labels = task.split("test")
    if not len(images):
        raise TatrError(f"{task.images}: the test split is empty; losses can't be measured")
    chosen = draw_exemplars(len(images), min(count, len(images)), seed, str(task.images))
    return _Sample(
        task,
        torch.from_numpy(read_exemplars(images, chosen)).to(device),
        torch.from_numpy(labels[chosen]).to(device),
    )


@torch.no_grad()
def _measured(encoder: Encoder, parameters: clip.Parameters, sample: _Sample) -> tuple[float, float]:
    """Mean loss and accuracy."""
    losses, right, device = [], 0, str(sample.labels.device)
    for images, labels in sample.batches():
        pixels = clip.normalise(images, encoder.architecture, device)
        logits = clip.scores(encode(parameters, pixels, encoder.architecture), sample.task.head)
        if not logits.isfinite().all():
            raise TatrError(f"{sample.task.name}: the model's outputs are not finite; take a smaller coefficient")
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
        right += int((logits.argmax(dim=-1) == labels).sum())
    count = len(sample.labels)
    return float(torch.cat(losses).cpu().double().sum()) / count, right / count
