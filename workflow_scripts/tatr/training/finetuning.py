"""Fine-tuning of the image encoder on one task or several, heads frozen (the recipe of Ilharco et al. 2023)."""

import logging
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder, encode, products
from tatr.data.read_ahead import Tensors, read_ahead
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.progress import progress
from tatr.training.crops import crop
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.resume import Saved, optimiser_state, restore_optimiser
from tatr.training.sampling import Draw, Sampler
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
        first, start = training.step, time.perf_counter()
        with closing(training.batches()) as batches:
            remaining = recipe.steps - first
            for batch in progress(batches, name, remaining, status=lambda: f"loss {training.loss:.4f}"):
                training.advance(*batch)
                saved.write(training.state)
        if done := (training.step - first) * recipe.batch_size:
            loss = training.loss.item()  # waits for a GPU
            logger.info("%s: loss %.4f, %.0f images/s", name, loss, done / (time.perf_counter() - start))
    return {key: parameter.detach().cpu().numpy() for key, parameter in training.parameters.items()}


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
        self._optimiser = torch.optim.AdamW(self.parameters.values(), weight_decay=recipe.weight_decay)
        self._sampler = Sampler([len(labels) for labels in self._labels], recipe)
        self._drawn: Mapping[str, Tensor] = self._sampler.state()  # the sampler itself is ahead
        self.step, self.loss = 0, torch.zeros(())

    def batches(self) -> Generator[tuple[Draw, Tensors], None, None]:
        """The remaining steps' batches, read ahead: images uint8 [B, H, W, 3], labels int64 [B], crops [B, 2, 3]."""
        device = "cpu" if self._device == "mps" else self._device  # mps has no bicubic `grid_sample`
        return read_ahead(self._read, self._sampler.draws(range(self.step, self._recipe.steps)), device)

    def _read(self, draw: Draw) -> tuple[np.ndarray, np.ndarray, Tensor]:
        images = self._images.images(draw.task, draw.indices)
        return images, self._labels[draw.task][draw.indices], draw.crops

    def advance(self, draw: Draw, tensors: Tensors) -> None:
        """Do one step, with the next one of `batches`.

        Raises:
            TatrError: the loss is not finite.
        """
        recipe = self._recipe
        rate = learning_rate_at(self.step, recipe.learning_rate, recipe.warmup_steps, recipe.steps)
        self._optimiser.param_groups[0]["lr"] = rate
        self._optimiser.zero_grad()
        images, labels, crops = tensors
        pixels = crop(clip.normalise(images, self._architecture, str(images.device)), crops)  # all, for any micro_batch
        self.loss = self._backward(self._tasks[draw.task], pixels.to(self._device), labels.to(self._device))
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), recipe.gradient_clip)
        self._optimiser.step()
        self.step, self._drawn = self.step + 1, draw.state

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
            with products(recipe.precision):
                loss.backward()
            total += loss.detach()
        return total

    def state(self) -> dict[str, Tensor]:
        """What `restore` takes; parameters and averages are not copied."""
        return {
            **{f"parameter.{name}": parameter for name, parameter in self.parameters.items()},
            **self._drawn,
            **optimiser_state(self._optimiser),
            "step": torch.tensor(self.step),
        }

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state of a training with the same arguments; an empty one changes nothing."""
        if not state:
            return
        for name, parameter in self.parameters.items():
            parameter.copy_(state[f"parameter.{name}"])
        self._sampler.restore(state)
        self._drawn = self._sampler.state()
        restore_optimiser(self._optimiser, state)
        self.step = int(state["step"])
