"""Learning a merge by making the merged model sure of its predictions on unlabelled images.

θ is merged once per iteration, without a graph. The entropy of each task in turn is back-propagated to θ alone, so one
task's graph exists at a time; what is learnt gets its gradients from θ's. In memory are θ, its gradient and one batch's
activations, however many tasks there are.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.read_ahead import Tensors, read_ahead
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.progress import progress
from tatr.training.optimisers import eager
from tatr.training.resume import Saved, optimiser_state, restore_optimiser
from tatr.training.scratch import ImageBank

logger = logging.getLogger("tatr")

Batch = tuple[tuple[int, int], Tensors]
"""(number of the task, iteration), and the images."""

POINTS = 50
"""Points of the entropy's course that are kept."""


class EntropyRecipe(Protocol):
    """What all recipes of such learning say."""

    @property
    def iterations(self) -> int:
        """Steps of Adam."""

    @property
    def batch_size(self) -> int:
        """Images per task and iteration."""

    @property
    def learning_rate(self) -> float:
        """Of Adam."""

    @property
    def seed(self) -> int:
        """Of the batches."""


class EntropyLearner(ABC):
    """What is learnt of a merge, between two iterations: all that the next one depends on."""

    def __init__(
        self,
        encoder: Encoder,
        learnt: Mapping[str, Tensor],
        tasks: Sequence[Task],
        images: ImageBank,
        recipe: EntropyRecipe,
        device: str,
    ) -> None:
        """Before the first iteration; `learnt` are tensors on the CPU, as they are at the start."""
        self._architecture, self._learnt = encoder.architecture, dict(learnt)
        self._tasks, self._images, self._schedule, self._device = tasks, images, recipe, device
        arrays = encoder.layout.unflatten(encoder.flat)
        self.theta = {name: tensor.requires_grad_() for name, tensor in clip.to_tensors(arrays, device).items()}
        """The merged parameters, as `merge` left them."""
        self._optimiser = eager(torch.optim.Adam)([*learnt.values()], lr=recipe.learning_rate, betas=(0.9, 0.999))
        self._entropies = torch.zeros(recipe.iterations, dtype=torch.float64)
        self.iteration = 0

    @abstractmethod
    def merge(self) -> None:
        """Set θ by what is learnt, without a graph."""

    @abstractmethod
    def gradients(self) -> Mapping[str, Tensor]:
        """Of what is learnt, on the CPU, from the gradient of θ, which is used up."""

    def learn(self, saved: Saved, description: str, after_the_first: Callable[[], None]) -> None:
        """Do all iterations that are left, from the state that was saved.

        Args:
            saved: where the state is kept. Learning that resumes ends with the bytes of an undisturbed one.
            description: what progress calls it.
            after_the_first: is called once, when torch holds all that iterations need.

        Raises:
            TatrError: an entropy is not finite.
        """
        self.restore(saved.read())
        if self.iteration:
            logger.info("resuming at iteration %d of %d", self.iteration, self._schedule.iterations)
        remaining = range(self.iteration, self._schedule.iterations)
        with closing(self.batches()) as batches:
            for iteration in progress(remaining, description, status=lambda: f"entropy {self.last_entropy:.4f}"):
                self.advance(batches)
                if iteration == remaining.start:
                    after_the_first()
                saved.write(self.state)

    def batches(self) -> Generator[Batch, None, None]:
        """For all remaining iterations and every task in turn: images uint8 [B, H, W, 3], read ahead."""
        numbers = range(len(self._tasks))
        turns = ((number, i) for i in range(self.iteration, self._schedule.iterations) for number in numbers)
        return read_ahead(self._read, turns, self._device)

    def _read(self, turn: tuple[int, int]) -> tuple[np.ndarray]:
        number, iteration = turn
        available, name = self._images.shapes[number][0], self._tasks[number].name
        indices = batch(available, self._schedule.batch_size, iteration, self._schedule.seed, name)
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
        for name, gradient in self.gradients().items():
            self._learnt[name].grad = gradient
        self._optimiser.step()
        self._entropies[self.iteration] = sum(entropies) / len(entropies)
        self.iteration += 1

    def backward(self, number: int, images: Tensor) -> Tensor:
        """Add the gradient of one task's entropy to that of θ; return the entropy, a mean over a batch, in nats."""
        pixels = clip.normalise(images, self._architecture, self._device)
        loss = entropy(clip.logits(self.theta, pixels, self._tasks[number].head, self._architecture))
        loss.backward()
        return loss.detach()

    def _gradient(self, name: str) -> Tensor:
        """∂L/∂θ of a tensor, which θ has no longer then."""
        gradient = self.theta[name].grad
        assert gradient is not None
        self.theta[name].grad = None
        return gradient

    def _check(self, entropies: Sequence[float]) -> None:
        for task, value in zip(self._tasks, entropies, strict=True):
            if not math.isfinite(value):
                raise TatrError(
                    f"{task.name}: the entropy is {value} at iteration {self.iteration}, so the merged model's "
                    "outputs are not finite; lower the merge's `initial`, and check the individual models' evaluations"
                )

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
        done = {"entropies": self._entropies, "iteration": torch.tensor(self.iteration)}
        return {**self._learnt, **done, **optimiser_state(self._optimiser)}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state of learning with the same arguments; an empty one changes nothing."""
        if state:
            for name, tensor in self._learnt.items():
                tensor.copy_(state[name])
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
