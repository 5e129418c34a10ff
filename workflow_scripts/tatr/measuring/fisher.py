"""Diagonal Fisher information: how sharply a model's own predictions depend on each of its parameters.

F = E_x E_{y~p(y|x; θ)} [∇ log p(y|x; θ)]², entry by entry: Eq. 4 of Matena & Raffel 2022 (arXiv 2111.09832). The labels
are the model's own, all of them, each weighted by its probability; those of the data are not read.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.func import jacrev, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture, OtherTower
from tatr.clip.encoder import Encoder
from tatr.data.exemplars import draw_exemplars, read_exemplars
from tatr.data.task import Task
from tatr.measuring.exemplar_gradients import GradientSums, micro_batches
from tatr.progress import progress
from tatr.training.recipes.exemplars import Exemplars
from tatr.vectors.vector import Vector, recut

AT_ONCE = 2**26
"""Gradient entries that `vmap` holds at once (256 MiB): bounds memory for any encoder and any number of classes."""

Features = Callable[[dict[str, Tensor], Tensor], Tensor]
"""(parameters, one exemplar) → its features [D]."""

LogProbabilities = Callable[[Tensor], Tensor]
"""Features [D] → log p(y|x) of all classes [C]; none of the parameters enters here."""


def measure_fisher(
    encoder: Encoder, finetuned: Vector, task: Task, exemplars: Exemplars, device: str
) -> Iterator[np.ndarray]:
    """The diagonal Fisher information of a task at its fine-tuned encoder; no label is read.

    Args:
        encoder: θ_pre, for its architecture and layout.
        finetuned: θ_k, [N].
        task: head and training images.
        exemplars: which of these.
        device: for torch.

    Returns:
        The blocks of a float32 vector [N].

    Raises:
        TatrError: there are fewer training images than exemplars, or the information is not finite.
    """
    architecture, layout = encoder.architecture, encoder.layout
    images = task.unlabelled("train")
    chosen = draw_exemplars(len(images), exemplars.count, exemplars.seed, str(task.images))
    parameters = clip.to_tensors(layout.unflatten(finetuned[0 : layout.size]), device)
    sums = GradientSums(parameters, ["squared"])
    for which in progress(micro_batches(architecture, [exemplars.count]), "Fisher information"):
        pixels = clip.normalise(read_exemplars(images, chosen[which]), architecture, device)
        add_information(sums, parameters, pixels, task.head, architecture)
    means = sums.means("squared", exemplars.count, layout, f"the Fisher information of {task.name}")
    return recut(means, layout.size)


def add_information(
    sums: GradientSums, parameters: dict[str, Tensor], pixels: Tensor, head: Tensor, architecture: Architecture
) -> None:
    """Add F of each exemplar: squares per exemplar and label.

    The square of a batch's gradient, or of a gradient summed over labels, is another quantity: there, exemplars and
    labels that pull a parameter in opposite directions cancel.
    Cost: one forward pass and min(C − 1, D) backward passes (`label_factor`).

    Args:
        sums: of squares.
        parameters: where F is taken (θ_k).
        pixels: of the exemplars, normalised, [B, 3, H, W].
        head: zero-shot classifier [C, D].
        architecture: of the encoder.
    """
    log_probabilities = head_log_probabilities(head)
    if isinstance(architecture.vision, OtherTower):
        add_squares(sums, encoder_features(architecture), log_probabilities, parameters, pixels)
        return
    features = clip.image_features(parameters, pixels, architecture, sums)
    factors = vmap(lambda one: label_factor(log_probabilities, one))(features.detach())
    for cotangents in factors.unbind(dim=1):
        features.backward(cotangents, retain_graph=True)


def encoder_features(architecture: Architecture) -> Features:
    """Features of one image, not normalised."""

    def features(parameters: dict[str, Tensor], pixels: Tensor) -> Tensor:
        return clip.image_features(parameters, pixels[None], architecture)[0]

    return features


def head_log_probabilities(head: Tensor) -> LogProbabilities:
    """Softmax over the scores of a zero-shot head [C, D]."""
    return lambda features: clip.scores(features, head).log_softmax(dim=-1)


def add_squares(
    sums: GradientSums,
    features: Features,
    log_probabilities: LogProbabilities,
    parameters: dict[str, Tensor],
    exemplars: Tensor,
) -> None:
    """Add F of any encoder. Whole gradients are made, as many at once as `AT_ONCE` allows.

    Args:
        sums: of squares.
        features: of one exemplar.
        log_probabilities: of its classes.
        parameters: where F is taken.
        exemplars: [B, ...].
    """
    size = sum(parameter.numel() for parameter in parameters.values())
    with torch.no_grad():
        rank = len(label_factor(log_probabilities, features(parameters, exemplars[0])))
    rows = max(1, min(rank, AT_ONCE // size))
    batch = max(1, AT_ONCE // (rows * size))

    def squares(exemplar: Tensor) -> dict[str, Tensor]:
        feature, pull, *_ = vjp(lambda p: features(p, exemplar), parameters)
        total: dict[str, Tensor] = {}
        for cotangents in label_factor(log_probabilities, feature).split(rows):
            (gradients,) = vmap(pull)(cotangents)
            for name, gradient in gradients.items():
                square = gradient.square().sum(dim=0)
                total[name] = total[name] + square if name in total else square
        return total

    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no batching rule
        for inputs in exemplars.split(batch):
            for name, square in vmap(squares)(inputs).items():
                sums.of["squared"][name] += square.sum(dim=0)


def label_factor(log_probabilities: LogProbabilities, features: Tensor) -> Tensor:
    """B [min(C − 1, D), D] with BᵀB = Σ_y p_y a_y a_yᵀ, where a_y = ∂ log p_y / ∂features.

    With J = ∂features/∂θ the expectation over labels is Σ_y p_y (Jᵀa_y)² = diag(JᵀBᵀBJ): exact with one backward pass
    per row of B instead of one per label. As Σ_y p_y a_y = 0, the rows √p_y a_y are linearly dependent, so that of C
    singular values one is 0 and is left out.
    """
    slopes = jacrev(log_probabilities)(features)
    weighted = log_probabilities(features).exp().sqrt()[:, None] * slopes
    _, values, directions = torch.linalg.svd(weighted, full_matrices=False)
    return (values[:, None] * directions)[: max(1, len(slopes) - 1)]
