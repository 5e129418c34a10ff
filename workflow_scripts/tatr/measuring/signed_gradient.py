"""Signed gradients: which way a task's loss rises with every parameter, at θ_pre (∇L_j of arXiv 2501.15065)."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.exemplars import draw_exemplars, read_exemplars
from tatr.data.task import Task
from tatr.measuring.exemplar_gradients import means_of, micro_batches
from tatr.progress import progress
from tatr.training.recipes.exemplars import Exemplars
from tatr.vectors.vector import recut


def measure_signed_gradient(encoder: Encoder, task: Task, exemplars: Exemplars, device: str) -> Iterator[np.ndarray]:
    """∇L at θ_pre of a task's mean loss over exemplars, the ones of the absolute gradients where seed and count agree.

    Here exemplars that pull a parameter in opposite directions are to cancel. So plain backward passes will do, a few
    exemplars at a time: memory does not grow with their number.

    Args:
        encoder: θ_pre.
        task: head, training images and their labels.
        exemplars: which of these.
        device: for torch.

    Returns:
        The blocks of a float32 vector [N].

    Raises:
        TatrError: there are fewer training images than exemplars, or the gradient is not finite.
    """
    architecture, layout = encoder.architecture, encoder.layout
    images, labels = task.split("train")
    chosen = draw_exemplars(len(images), exemplars.count, exemplars.seed, str(task.images))
    parameters = clip.to_tensors(layout.unflatten(encoder.flat), device)
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        parameter.requires_grad_().grad = sums[name]  # to which backward passes add
    for which in progress(micro_batches(architecture, [exemplars.count]), "signed gradients"):
        pixels = clip.normalise(read_exemplars(images, chosen[which]), architecture, device)
        classes = torch.as_tensor(labels[chosen[which]], device=device)
        F.cross_entropy(clip.logits(parameters, pixels, task.head, architecture), classes, reduction="sum").backward()
    return recut(means_of(sums, exemplars.count, layout, f"the signed gradient of {task.name}"), layout.size)
