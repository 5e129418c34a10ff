"""AdaMerging's coefficients: learnt by making the merged model sure of its predictions on unlabelled images.

θ = θ_pre + Σ_k Σ_l λ_kl Δ_kl is merged once per iteration, without a graph. The entropy of each task in turn is
back-propagated to θ alone, so one task's graph exists at a time, and ∂L/∂λ_kl = ⟨∂L/∂θ_l, Δ_kl⟩ follows from one pass
over the task vectors. In memory are θ_pre, θ, its gradient and one batch's activations, however many tasks there are.
A GPU keeps the task vectors, too, if there is room.
"""

import logging
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.read_ahead import Tensors, read_ahead
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.progress import progress
from tatr.training.banks import TaskVectorBank
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.resume import Saved, optimiser_state, restore_optimiser
from tatr.training.scratch import ImageBank
from tatr.vectors.vector import Vector

logger = logging.getLogger("tatr")

Batch = tuple[tuple[int, int], Tensors]
"""(number of the task, iteration), and the images."""

POINTS = 50
"""Points of the entropy's course that are kept."""


def adapt(
    encoder: Encoder,
    task_vectors: Sequence[Vector],
    mask: Vector | None,
    tasks: Sequence[Task],
    recipe: Adaptation,
    device: str,
    folder: Path,
    saved: Saved | None = None,
) -> dict[str, Any]:
    """Learn the coefficients of a merge.

    Args:
        encoder: θ_pre.
        task_vectors: Δ_k, each [N].
        mask: True where the trust region is, bool [N]; None for no restriction. With it, and after trimming if the
            recipe has a density, the task vectors are masked before anything is learnt (Eq. 12 of arXiv 2501.15065).
        tasks: heads and images, in the order of the task vectors. Labels are not read.
        recipe: of the learning.
        device: for torch.
        folder: for temporary files of the size of all task vectors and images.
        saved: where the state is kept. Learning that resumes ends with the bytes of an undisturbed one.

    Returns:
        `tasks` and `tensors` (names), `coefficients` (λ_kl in [0, 1], a list per task), `split` (which the images
        are of) and `entropy`: pairs of an iteration and the mean entropy (nats) from it up to the next pair's.

    Raises:
        TatrError: a split is empty, or an entropy is not finite.
    """
    saved = saved or Saved(None, "")
    with (
        TaskVectorBank(folder, task_vectors, encoder.layout, mask, recipe.density, device) as vectors,
        ImageBank(folder, tasks, recipe.split) as images,
    ):
        learning = CoefficientLearner(encoder, vectors, tasks, images, recipe, device)
        learning.restore(saved.read())
        if learning.iteration:
            logger.info("resuming at iteration %d of %d", learning.iteration, recipe.iterations)
        remaining = range(learning.iteration, recipe.iterations)
        with closing(learning.batches()) as batches:
            for iteration in progress(remaining, "coefficients", status=lambda: f"entropy {learning.last_entropy:.4f}"):
                learning.advance(batches)
                if iteration == remaining.start:
                    vectors.keep()
                saved.write(learning.state)
    return {
        "tasks": [task.name for task in tasks],
        "tensors": [parameter.name for parameter in encoder.layout.parameters],
        # The shortest decimals that are these float32 values and no others.
        "coefficients": [[float(str(value)) for value in row] for row in learning.coefficients().numpy()],
        "split": recipe.split,
        "entropy": learning.course(),
    }


class CoefficientLearner:
    """Coefficients between two iterations: all that the next one depends on."""

    def __init__(
        self,
        encoder: Encoder,
        vectors: TaskVectorBank,
        tasks: Sequence[Task],
        images: ImageBank,
        recipe: Adaptation,
        device: str,
    ) -> None:
        """Start from `recipe.initial` everywhere."""
        self._architecture, self._parameters = encoder.architecture, encoder.layout.parameters
        self._vectors, self._tasks, self._images = vectors, tasks, images
        self._recipe, self._device = recipe, device
        arrays = encoder.layout.unflatten(encoder.flat)
        self._pretrained = {name: torch.as_tensor(array, device=device) for name, array in arrays.items()}
        self.theta = {name: tensor.requires_grad_() for name, tensor in clip.to_tensors(arrays, device).items()}
        """The merged parameters, as `merge` left them."""
        columns = len(self._parameters) if recipe.granularity == "layer" else 1
        self.raw = torch.full((len(tasks), columns), recipe.initial, requires_grad=True)
        """λ before it is clamped to [0, 1], float32 [K, tensors] or [K, 1], on the CPU."""
        self._optimiser = torch.optim.Adam([self.raw], lr=recipe.learning_rate, betas=(0.9, 0.999))
        self._entropies = torch.zeros(recipe.iterations, dtype=torch.float64)
        self.iteration = 0

    def coefficients(self) -> Tensor:
        """λ_kl in [0, 1], float32 [K, tensors]."""
        return self.raw.detach().clamp(0, 1).expand(-1, len(self._parameters))

    def batches(self) -> Generator[Batch, None, None]:
        """For all remaining iterations and every task in turn: images uint8 [B, H, W, 3], read ahead."""
        numbers = range(len(self._tasks))
        turns = ((number, i) for i in range(self.iteration, self._recipe.iterations) for number in numbers)
        return read_ahead(self._read, turns, self._device)

    def _read(self, turn: tuple[int, int]) -> tuple[np.ndarray]:
        number, iteration = turn
        available, name = self._images.shapes[number][0], self._tasks[number].name
        indices = batch(available, self._recipe.batch_size, iteration, self._recipe.seed, name)
        return (self._images.images(number, indices),)

    def advance(self, batches: Iterator[Batch]) -> None:
        """Do one iteration: one batch of every task, taken from `batches`, one step.

        Raises:
            TatrError: an entropy is not finite.
        """
        self.merge()
        losses = [self.backward(number, images) for (number, _), (images,) in islice(batches, len(self._tasks))]
        entropies = torch.stack(losses).tolist()  # here a GPU is waited for, and not in between
        self._check(entropies)
        self.raw.grad = self.gradient()
        self._optimiser.step()
        self._entropies[self.iteration] = sum(entropies) / len(entropies)
        self.iteration += 1

    @torch.no_grad()
    def merge(self) -> None:
        """Set θ = θ_pre + Σ_k λ_k Δ_k, tensor by tensor."""
        coefficients = self.coefficients()
        for column, parameter in enumerate(self._parameters):
            tensor = self.theta[parameter.name].copy_(self._pretrained[parameter.name])
            for coefficient, row in zip(coefficients[:, column].tolist(), self._vectors.rows(parameter), strict=True):
                tensor.add_(row.view(parameter.shape), alpha=coefficient)

    def backward(self, number: int, images: Tensor) -> Tensor:
        """Add the gradient of one task's entropy to that of θ; return the entropy, a mean over a batch, in nats."""
        pixels = clip.normalise(images, self._architecture, self._device)
        loss = entropy(clip.logits(self.theta, pixels, self._tasks[number].head, self._architecture))
        loss.backward()
        return loss.detach()

    def _check(self, entropies: Sequence[float]) -> None:
        for task, value in zip(self._tasks, entropies, strict=True):
            if not math.isfinite(value):
                raise TatrError(
                    f"{task.name}: the entropy is {value} at iteration {self.iteration}, so the merged model's "
                    "outputs are not finite; lower the merge's `initial`, and check the individual models' evaluations"
                )

    @torch.no_grad()
    def gradient(self) -> Tensor:
        """∂L/∂λ from the gradient of θ, which is used up: float32, of the shape of `raw`.

        Where λ is clamped it is zero, as in the authors' code: a coefficient that has left [0, 1] stays at its bound.
        """
        columns = []
        for parameter in self._parameters:
            gradient = self.theta[parameter.name].grad
            assert gradient is not None
            columns.append(torch.stack([gradient.reshape(-1) @ row for row in self._vectors.rows(parameter)]))
            self.theta[parameter.name].grad = None
        products = torch.stack(columns, dim=1)
        layerwise = self._recipe.granularity == "layer"
        by_coefficient = products if layerwise else products.sum(dim=1, keepdim=True)
        return by_coefficient.cpu() * ((self.raw >= 0) & (self.raw <= 1))

    @property
    def last_entropy(self) -> float:
        """Mean over tasks, of the iteration that was done last."""
        return self._entropies[self.iteration - 1].item()

    def course(self) -> list[list[float]]:
        """Up to `POINTS` pairs: an iteration, and the mean entropy from it up to the next pair's."""
        step = -(-len(self._entropies) // POINTS)
        return [[step * i, part.mean().item()] for i, part in enumerate(self._entropies.split(step))]

    def state(self) -> dict[str, Tensor]:
        """What `restore` takes."""
        learnt = {"raw": self.raw, "entropies": self._entropies, "iteration": torch.tensor(self.iteration)}
        return {**learnt, **optimiser_state(self._optimiser)}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state of learning with the same arguments; an empty one changes nothing."""
        if state:
            self.raw.copy_(state["raw"])
            self._entropies.copy_(state["entropies"])
            self.iteration = int(state["iteration"])
            restore_optimiser(self._optimiser, state)


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy (nats) of the predictions of a batch, logits [B, C]."""
    logarithms = logits.log_softmax(dim=-1)
    return -(logarithms.exp() * logarithms).sum(dim=-1).mean()


def batch(available: int, size: int, iteration: int, seed: int, task: str) -> np.ndarray:
    """Indices, int64 [size], of a task's images in an iteration; no state, so learning can resume anywhere.

    Every epoch is one permutation; a batch may straddle several, so it may be larger than the task. Each task draws
    on its own: leaving one out changes no other's batches.
    """
    first = iteration * size
    epochs = range(first // available, (first + size - 1) // available + 1)
    drawn = [np.random.default_rng([seed, epoch, *task.encode()]).permutation(available) for epoch in epochs]
    start = first - epochs.start * available
    return np.concatenate(drawn)[start : start + size]
