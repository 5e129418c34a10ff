"""Absolute gradients: how strongly a task's loss reacts to every parameter, at θ_pre (Eq. 6 of arXiv 2501.15065)."""

from collections.abc import Callable, Collection, Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture, OtherTower
from tatr.clip.encoder import Encoder
from tatr.data.exemplars import draw_exemplars, read_exemplars
from tatr.data.task import Task
from tatr.measuring.exemplar_gradients import GradientSums, micro_batches
from tatr.measuring.exemplar_products import Reduction
from tatr.progress import progress
from tatr.training.recipes.exemplars import ExemplarCounts
from tatr.vectors.vector import recut

AT_ONCE = 2**26
"""Gradient entries that `vmap` holds at once (256 MiB): bounds memory for any encoder."""

Loss = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]
"""(parameters, one exemplar, its label) → scalar."""

Read = Callable[[slice], tuple[Tensor, Tensor]]
"""Which exemplars → their normalised pixels [B, 3, H, W] and their labels [B]."""


def measure_gradients(
    encoder: Encoder, task: Task, exemplars: ExemplarCounts, device: str
) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """A task's mean absolute per-exemplar gradients at θ_pre, over the first 1, 16, … exemplars of one draw.

    Args:
        encoder: θ_pre.
        task: head, training images and their labels.
        exemplars: over how many of them to average.
        device: for torch.

    Yields:
        Each count, in ascending order, and the mean as the blocks of a float32 vector [N]. Read it before the next.

    Raises:
        TatrError: there are fewer training images than exemplars, or a gradient is not finite.
    """
    images, labels = task.split("train")
    chosen = draw_exemplars(len(images), max(exemplars.counts), exemplars.seed, str(task.images))

    def read(which: slice) -> tuple[Tensor, Tensor]:
        pixels = clip.normalise(read_exemplars(images, chosen[which]), encoder.architecture, device)
        return pixels, torch.as_tensor(labels[chosen[which]], device=device)

    parameters = clip.to_tensors(encoder.layout.unflatten(encoder.flat), device)
    counts = exemplars.counts
    for count, sums in summed_gradients(encoder.architecture, parameters, task.head, read, counts, ["absolute"]):
        means = sums.means("absolute", count, encoder.layout, f"the gradient of {task.name}")
        yield count, recut(means, encoder.layout.size)


def summed_gradients(
    architecture: Architecture,
    parameters: dict[str, Tensor],
    head: Tensor,
    read: Read,
    counts: Collection[int],
    reductions: Collection[Reduction],
) -> Iterator[tuple[int, GradientSums]]:
    """Σ |∇L(x)|, Σ ∇L(x) and Σ ∇L(x)² over the first exemplars x: reduced per exemplar, then summed.

    The absolute value of a batch's gradient is another quantity: there, exemplars that pull a parameter in opposite
    directions cancel.

    Args:
        architecture: of the encoder.
        parameters: where the gradients are taken (θ_pre).
        head: of the task, [C, D].
        read: gets the exemplars; a few at a time are in memory.
        counts: after how many exemplars to yield.
        reductions: which of the sums.

    Yields:
        Each count, in ascending order, and the sums so far, which then go on.
    """
    sums = GradientSums(parameters, reductions)
    for which in progress(micro_batches(architecture, counts), "gradients"):
        _add_micro_batch(sums, architecture, parameters, head, *read(which))
        if which.stop in counts:
            yield which.stop, sums


def _add_micro_batch(
    sums: GradientSums,
    architecture: Architecture,
    parameters: dict[str, Tensor],
    head: Tensor,
    pixels: Tensor,
    labels: Tensor,
) -> None:
    # A function of its own, so that what its graph holds is gone when the next one begins.
    if isinstance(architecture.vision, OtherTower):
        add_gradients(sums, classification_loss(architecture, head), parameters, pixels, labels)
        return
    features = clip.image_features(parameters, pixels, architecture, sums)
    F.cross_entropy(clip.scores(features, head), labels, reduction="sum").backward()


def mean_absolute_gradient(
    loss: Loss, parameters: dict[str, Tensor], exemplars: Tensor, labels: Tensor
) -> dict[str, np.ndarray]:
    """E_x |∇L(x)|, per parameter, of any model and loss: one gradient per exemplar, its absolute value, then the mean.

    Args:
        loss: of one exemplar.
        parameters: where the gradient is taken (θ_pre).
        exemplars: [n, ...].
        labels: [n].
    """
    sums = GradientSums(parameters, ["absolute"])
    for inputs, classes in progress([*zip(exemplars.split(32), labels.split(32), strict=True)], "gradients"):
        add_gradients(sums, loss, parameters, inputs, classes)
    return {name: (total / len(exemplars)).cpu().numpy() for name, total in sums.of["absolute"].items()}


def classification_loss(architecture: Architecture, head: Tensor) -> Loss:
    """Cross-entropy of one image through the task's frozen head (dropout and the like do not exist here)."""

    def loss(parameters: dict[str, Tensor], pixels: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(clip.logits(parameters, pixels[None], head, architecture), label[None])

    return loss


def add_gradients(
    sums: GradientSums, loss: Loss, parameters: dict[str, Tensor], exemplars: Tensor, labels: Tensor
) -> None:
    """Add the gradients of any loss. Every exemplar's whole gradient is made, as many at once as `AT_ONCE` allows.

    Args:
        sums: to add to.
        loss: of one exemplar.
        parameters: where the gradients are taken.
        exemplars: [B, ...].
        labels: [B].
    """
    batch = max(1, AT_ONCE // sum(parameter.numel() for parameter in parameters.values()))
    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no batching rule
        for inputs, classes in zip(exemplars.split(batch), labels.split(batch), strict=True):
            for name, gradient in gradients(parameters, inputs, classes).items():
                sums.add(name, gradient)
