"""Fine-tuning of the image encoder on one task, head frozen (the recipe of Ilharco et al. 2023)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr import clip
from tatr.encoders import Encoder, Task
from tatr.errors import TatrError
from tatr.progress import progress


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


def finetune(encoder: Encoder, task: Task, recipe: Recipe, device: str) -> dict[str, np.ndarray]:
    """Train θ_pre on the task's training split; return θ_k by parameter name.

    Raises:
        TatrError: the loss is no longer finite.
    """
    images, labels = task.split("train")
    if not len(images):
        raise TatrError(f"{task.images}: no training images")
    tensors = clip.to_tensors(encoder.layout.unflatten(encoder.flat), device)
    parameters = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    optimiser = torch.optim.AdamW(parameters.values(), weight_decay=recipe.weight_decay)
    generator = torch.Generator().manual_seed(recipe.seed)
    loss = torch.zeros(())
    batches = _batches(len(images), recipe, generator)
    for step, batch in enumerate(progress(batches, task.name, recipe.steps, lambda: f"loss {loss:.4f}")):  # noqa: B023
        optimiser.param_groups[0]["lr"] = recipe.learning_rate_at(step)
        pixels = clip.normalise(images[batch], encoder.architecture, device)
        pixels = random_resized_crop(pixels, recipe.crop_scale, generator)
        scores = clip.logits(parameters, pixels, task.head, encoder.architecture)
        loss = F.cross_entropy(scores, torch.as_tensor(labels[batch], device=device))
        if not loss.isfinite():
            raise TatrError(f"{task.name}: the loss is {loss.item()} at step {step}; lower finetuning.learning_rate")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters.values(), recipe.gradient_clip)
        optimiser.step()
    return {name: parameter.detach().cpu().numpy() for name, parameter in parameters.items()}


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


def _batches(available: int, recipe: Recipe, generator: torch.Generator) -> Iterator[np.ndarray]:
    # Each epoch is one permutation; a batch may straddle two, so small tasks can have large batches.
    waiting = torch.empty(0, dtype=torch.int64)
    for _ in range(recipe.steps):
        while len(waiting) < recipe.batch_size:
            waiting = torch.cat([waiting, torch.randperm(available, generator=generator)])
        batch, waiting = waiting[: recipe.batch_size], waiting[recipe.batch_size :]
        yield batch.numpy()
