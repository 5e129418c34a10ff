"""Absolute gradients: how strongly a task's loss reacts to every parameter, at θ_pre (Eq. 6 of arXiv 2501.15065)."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.exemplars import draw_exemplars, read_exemplars
from tatr.data.task import Task
from tatr.progress import progress
from tatr.training.recipes.exemplars import Exemplars

AT_ONCE = 2**26
"""Gradient entries held at once (256 MiB): bounds memory for any encoder."""

Loss = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]
"""(parameters, one exemplar, its label) → scalar."""


def measure_gradient(encoder: Encoder, task: Task, exemplars: Exemplars, device: str) -> np.ndarray:
    """A task's mean absolute per-exemplar gradient at θ_pre, float32 [N].

    Raises:
        TatrError: there are fewer training images than exemplars, or a gradient is not finite.
    """
    images, labels = task.split("train")
    chosen = draw_exemplars(len(images), exemplars.count, exemplars.seed, str(task.images))
    gradients = mean_absolute_gradient(
        classification_loss(encoder, task.head),
        clip.to_tensors(encoder.layout.unflatten(encoder.flat), device),
        clip.normalise(read_exemplars(images, chosen), encoder.architecture, device),
        torch.as_tensor(labels[chosen], device=device),
    )
    return encoder.layout.flatten(gradients, f"the gradient of {task.name}")


def classification_loss(encoder: Encoder, head: Tensor) -> Loss:
    """Cross-entropy of one image through the task's frozen head (dropout and the like do not exist here)."""

    def loss(parameters: dict[str, Tensor], pixels: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(clip.logits(parameters, pixels[None], head, encoder.architecture), label[None])

    return loss


def mean_absolute_gradient(
    loss: Loss, parameters: dict[str, Tensor], exemplars: Tensor, labels: Tensor
) -> dict[str, np.ndarray]:
    """E_x |∇L(x)|, per parameter: one gradient per exemplar, its absolute value, then the mean.

    The absolute value of a batch's gradient is another quantity: there, exemplars that pull a parameter in opposite
    directions cancel. Cost: n forward and backward passes, as many side by side as `AT_ONCE` allows.

    Args:
        loss: of one exemplar.
        parameters: where the gradient is taken (θ_pre).
        exemplars: [n, ...].
        labels: [n].
    """
    size = sum(parameter.numel() for parameter in parameters.values())
    batch = max(1, min(32, AT_ONCE // size))
    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    pairs = list(zip(exemplars.split(batch), labels.split(batch), strict=True))
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no batching rule
        for inputs, classes in progress(pairs, "gradients"):
            for name, gradient in gradients(parameters, inputs, classes).items():
                sums[name] += gradient.abs_().sum(dim=0)
    return {name: (total / len(exemplars)).cpu().numpy() for name, total in sums.items()}
