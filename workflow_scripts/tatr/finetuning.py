"""Fine-tuning of the image encoder on one task or several, heads frozen (the recipe of Ilharco et al. 2023)."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr import clip
from tatr.encoders import Encoder, Task
from tatr.errors import TatrError
from tatr.progress import progress
from tatr.resume import Saved, optimiser_state, restore_optimiser

logger = logging.getLogger("tatr")


@dataclass(frozen=True)
class Recipe:
    """Fine-tuning settings: AdamW, linear warm-up then cosine decay to zero, cross-entropy."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    gradient_clip: float
    crop_scale: tuple[float, float]
    seed: int

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (1 + math.cos(math.pi * done)) / 2


def finetune(
    encoder: Encoder, tasks: Sequence[Task], recipe: Recipe, device: str, saved: Saved | None = None
) -> dict[str, np.ndarray]:
    """Train θ_pre on the training split of one task, or of several in turn; return θ by parameter name.

    With several tasks it is traditional multi-task learning: one encoder, one optimiser, and every task its own frozen
    head. Step s is one batch of task s mod K, so every task has the same share of the `recipe.steps`.

    Args:
        encoder: θ_pre, left as it is.
        tasks: their training splits are held in memory, all at once.
        recipe: of the whole training.
        device: where torch computes.
        saved: where the state is kept. A training that goes on from there ends with the bytes of an undisturbed one.

    Raises:
        TatrError: there are no tasks or no training images, or the loss is no longer finite.
    """
    if not tasks:
        raise TatrError("fine-tuning: no tasks are given; give the head and the images of one or more")
    saved = saved or Saved(None, "")
    training = _Training(encoder, tasks, recipe, device)
    training.restore(saved.read())
    name = tasks[0].name if len(tasks) == 1 else f"{len(tasks)} tasks"
    if training.step:
        logger.info("%s: goes on from step %d of %d", name, training.step, recipe.steps)
    for _ in progress(range(training.step, recipe.steps), name, status=lambda: f"loss {training.loss:.4f}"):
        training.advance()
        saved.write(training.state)
    return {key: parameter.detach().cpu().numpy() for key, parameter in training.parameters.items()}


class Batches:
    """A task's training images in random batches, drawn without replacement.

    Each epoch is one permutation; a batch may straddle two, so small tasks can have large batches.
    """

    def __init__(self, task: Task, size: int, generator: torch.Generator) -> None:
        """Read the task's training split.

        Raises:
            TatrError: it is empty.
        """
        self.task = task
        self.images, self.labels = task.split("train")
        if not len(self.images):
            raise TatrError(f"{task.images}: no training images")
        self.waiting = torch.empty(0, dtype=torch.int64)
        """What is left of the permutations drawn so far: the state, beside the generator's."""
        self._size, self._generator = size, generator

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """The next batch: images uint8 [B, H, W, 3] and labels int64 [B]."""
        while len(self.waiting) < self._size:
            self.waiting = torch.cat([self.waiting, torch.randperm(len(self.images), generator=self._generator)])
        batch, self.waiting = self.waiting[: self._size].numpy(), self.waiting[self._size :]
        return self.images[batch], self.labels[batch]


class _Training:
    """A training between two steps: all that the next step depends on."""

    def __init__(self, encoder: Encoder, tasks: Sequence[Task], recipe: Recipe, device: str) -> None:
        self._architecture, self._recipe, self._device = encoder.architecture, recipe, device
        tensors = clip.to_tensors(encoder.layout.unflatten(encoder.flat), device)
        self.parameters = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
        self._optimiser = torch.optim.AdamW(self.parameters.values(), weight_decay=recipe.weight_decay)
        # On the CPU, so that a seed gives the same batches and crops on every device.
        self._generator = torch.Generator().manual_seed(recipe.seed)
        self._batches = [Batches(task, recipe.batch_size, self._generator) for task in tasks]
        self.step, self.loss = 0, torch.zeros(())

    def advance(self) -> None:
        """Do one step.

        Raises:
            TatrError: the loss is not finite.
        """
        self._optimiser.param_groups[0]["lr"] = self._recipe.learning_rate_at(self.step)
        self.loss = self._loss(self._batches[self.step % len(self._batches)])
        self._optimiser.zero_grad()
        self.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self._recipe.gradient_clip)
        self._optimiser.step()
        self.step += 1

    def _loss(self, batches: Batches) -> Tensor:
        task, (images, labels) = batches.task, batches.draw()
        pixels = clip.normalise(images, self._architecture, self._device)
        pixels = random_resized_crop(pixels, self._recipe.crop_scale, self._generator)
        scores = clip.logits(self.parameters, pixels, task.head, self._architecture)
        loss = F.cross_entropy(scores, torch.as_tensor(labels, device=self._device))
        if not loss.isfinite():
            raise TatrError(
                f"{task.name}: the loss is {loss.item()} at step {self.step}; lower finetuning.learning_rate"
            )
        return loss

    def state(self) -> dict[str, Tensor]:
        """What `restore` takes; parameters and averages are not copied."""
        return {
            **{f"parameter.{name}": parameter for name, parameter in self.parameters.items()},
            **{f"waiting.{index}": batches.waiting for index, batches in enumerate(self._batches)},
            **optimiser_state(self._optimiser),
            "generator": self._generator.get_state(),
            "step": torch.tensor(self.step),
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of a training with the same arguments; an empty one changes nothing."""
        if not state:
            return
        for name, parameter in self.parameters.items():
            parameter.copy_(state[f"parameter.{name}"])
        for index, batches in enumerate(self._batches):
            batches.waiting = state[f"waiting.{index}"]
        restore_optimiser(self._optimiser, state)
        self._generator.set_state(state["generator"])
        self.step = int(state["step"])


def random_resized_crop(pixels: Tensor, scale: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Cut a random rectangle out of each image and resize it to the whole (bicubic), as torchvision's
    RandomResizedCrop does with ratio 3/4 … 4/3, but for a batch at once.

    Args:
        pixels: [B, 3, H, W].
        scale: range of the rectangle's share of the area.
        generator: on the CPU, so that a seed gives the same crops on every device.
    """
    batch = len(pixels)
    area, ratio, left, top = torch.rand(4, batch, generator=generator)
    area = scale[0] + (scale[1] - scale[0]) * area
    ratio = torch.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * ratio)
    # Where a stretched rectangle would stick out, its longer side is cut to the image.
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    affine = torch.zeros(batch, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1] = width, height
    affine[:, 0, 2], affine[:, 1, 2] = (2 * left - 1) * (1 - width), (2 * top - 1) * (1 - height)
    grid = F.affine_grid(affine.to(pixels.device), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
