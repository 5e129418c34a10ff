"""Fine-tuning of the image encoder on one task or several, heads frozen (the recipe of Ilharco et al. 2023)."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder, encode
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.progress import progress
from tatr.training.optimisers import eager
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.resume import Saved, optimiser_state, restore_optimiser
from tatr.training.schedule import learning_rate_at
from tatr.training.scratch import ImageBank

logger = logging.getLogger("tatr")


def finetune(
    encoder: Encoder,
    tasks: Sequence[Task],
    recipe: FineTuning,
    device: str,
    saved: Saved | None = None,
    folder: Path | None = None,
) -> dict[str, np.ndarray]:
    """Train θ_pre on the training split of one task, or of several in turn; return θ by parameter name.

    With several tasks it is traditional multi-task learning: one encoder, one optimiser, and every task its own frozen
    head. Step s is one batch of task s mod K, so every task has the same share of the `recipe.steps`.

    Args:
        encoder: θ_pre, left as it is.
        tasks: heads and training images.
        recipe: of the whole training.
        device: where torch computes.
        saved: where the state is kept. A training that resumes ends with the bytes of an undisturbed one.
        folder: for a temporary file of the size of all training images; None for the system's own folder.

    Raises:
        TatrError: there are no tasks or no training images, or the loss is no longer finite.
    """
    if not tasks:
        raise TatrError("fine-tuning: no tasks are given; give the head and the images of one or more")
    saved = saved or Saved(None, "")
    name = tasks[0].name if len(tasks) == 1 else f"{len(tasks)} tasks"
    with ImageBank(folder, tasks, "train") as images:
        training = _Training(encoder, tasks, images, recipe, device)
        training.restore(saved.read())
        if training.step:
            logger.info("%s: resuming at step %d of %d", name, training.step, recipe.steps)
        for _ in progress(range(training.step, recipe.steps), name, status=lambda: f"loss {training.loss:.4f}"):
            training.advance()
            saved.write(training.state)
    return {key: parameter.detach().cpu().numpy() for key, parameter in training.parameters.items()}


class Batches:
    """Which of a task's training images are in which batch: random, drawn without replacement.

    Each epoch is one permutation; a batch may straddle two, so small tasks can have large batches.
    """

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        """Draw batches of `size` out of `count` images."""
        self.waiting = torch.empty(0, dtype=torch.int64)
        """What is left of the permutations drawn so far: the state, in addition to the generator's."""
        self._count, self._size, self._generator = count, size, generator

    def draw(self) -> np.ndarray:
        """The next batch's indices, int64 [size]."""
        while len(self.waiting) < self._size:
            self.waiting = torch.cat([self.waiting, torch.randperm(self._count, generator=self._generator)])
        batch, self.waiting = self.waiting[: self._size].numpy(), self.waiting[self._size :]
        return batch


class _Training:
    """A training between two steps: all that the next step depends on."""

    def __init__(
        self, encoder: Encoder, tasks: Sequence[Task], images: ImageBank, recipe: FineTuning, device: str
    ) -> None:
        self._tasks, self._images = tasks, images
        self._labels = [task.split("train")[1] for task in tasks]
        self._architecture, self._recipe, self._device = encoder.architecture, recipe, device
        tensors = clip.to_tensors(encoder.layout.unflatten(encoder.flat), device)
        self.parameters = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
        self._optimiser = eager(torch.optim.AdamW)(self.parameters.values(), weight_decay=recipe.weight_decay)
        # On the CPU, so that a seed gives the same batches and crops on every device.
        self._generator = torch.Generator().manual_seed(recipe.seed)
        counts = map(len, self._labels)
        self._batches = [Batches(count, recipe.batch_size, self._generator) for count in counts]
        self.step, self.loss = 0, torch.zeros(())

    def advance(self) -> None:
        """Do one step.

        Raises:
            TatrError: the loss is not finite.
        """
        recipe = self._recipe
        rate = learning_rate_at(self.step, recipe.learning_rate, recipe.warmup_steps, recipe.steps)
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.zero_grad()
        number = self.step % len(self._tasks)
        self.loss = self._backward(self._tasks[number], *self._draw(number))
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), recipe.gradient_clip)
        self._optimiser.step()
        self.step += 1

    def _draw(self, number: int) -> tuple[Tensor, Tensor]:
        """A task's next batch: crops [B, 3, H, W], all drawn at once for any `micro_batch`, and labels [B]."""
        batch = self._batches[number].draw()
        device = "cpu" if self._device == "mps" else self._device  # mps has no bicubic `grid_sample`
        pixels = clip.normalise(self._images.images(number, batch), self._architecture, device)
        pixels = random_resized_crop(pixels, self._recipe.crop_scale, self._generator)
        return pixels.to(self._device), torch.as_tensor(self._labels[number][batch], device=self._device)

    def _backward(self, task: Task, pixels: Tensor, labels: Tensor) -> Tensor:
        """Add the gradient of a batch's mean loss to the parameters', part by part; return that loss."""
        recipe, total = self._recipe, torch.zeros((), device=pixels.device)
        size = recipe.micro_batch or len(pixels)
        for micro_batch, classes in zip(pixels.split(size), labels.split(size), strict=True):
            features = encode(
                self.parameters, micro_batch, self._architecture, recipe.precision, checkpointing=recipe.checkpointing
            )
            share = len(micro_batch) / len(pixels)
            loss = F.cross_entropy(clip.scores(features, task.head), classes) * share
            if not loss.isfinite():
                raise TatrError(
                    f"{task.name}: the loss is {loss.item()} at step {self.step}; lower finetuning.learning_rate"
                )
            loss.backward()
            total += loss.detach()
        return total

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
        """Resume from a state of a training with the same arguments; an empty one changes nothing."""
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
