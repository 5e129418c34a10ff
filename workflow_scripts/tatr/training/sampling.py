"""Which images are in which step's batch, and their crops: drawn ahead of the step, so that they can be read ahead."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tatr.training.crops import random_crops
from tatr.training.recipes.fine_tuning import FineTuning


@dataclass(frozen=True)
class Draw:
    """What is random about one step."""

    task: int
    """Which of the tasks."""
    indices: np.ndarray
    """Of its training images, int64 [B]."""
    crops: Tensor
    """Of `random_crops`, [B, 2, 3]."""
    state: Mapping[str, Tensor]
    """What `Sampler.restore` takes to go on after this step."""


class Sampler:
    """Draws the batches of one task, or of several in turn, without replacement.

    A task's epoch is one permutation of its images; a batch may straddle two, so small tasks can have large batches.
    """

    def __init__(self, counts: Sequence[int], recipe: FineTuning) -> None:
        """Draw out of so many images per task."""
        self._counts, self._recipe = counts, recipe
        # On the CPU, so that a seed gives the same batches and crops on every device.
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self._waiting = [torch.empty(0, dtype=torch.int64) for _ in counts]  # the rest of the permutations so far

    def draws(self, steps: range) -> Iterator[Draw]:
        """Draw step after step."""
        for step in steps:
            task = step % len(self._counts)
            indices = self._batch(task)
            crops = random_crops(len(indices), self._recipe.crop_scale, self._generator)
            yield Draw(task, indices, crops, self.state())

    def _batch(self, task: int) -> np.ndarray:
        size = self._recipe.batch_size
        while len(self._waiting[task]) < size:
            epoch = torch.randperm(self._counts[task], generator=self._generator)
            self._waiting[task] = torch.cat([self._waiting[task], epoch])
        batch, self._waiting[task] = self._waiting[task][:size].numpy(), self._waiting[task][size:]
        return batch

    def state(self) -> dict[str, Tensor]:
        """What `restore` takes."""
        waiting = {f"waiting.{task}": indices for task, indices in enumerate(self._waiting)}
        return {**waiting, "generator": self._generator.get_state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of a sampler with the same arguments."""
        self._waiting = [state[f"waiting.{task}"] for task in range(len(self._counts))]
        self._generator.set_state(state["generator"])
