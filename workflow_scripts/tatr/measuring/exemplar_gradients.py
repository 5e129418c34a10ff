"""Per-exemplar gradients of an image encoder, summed over exemplars: their absolute values, squares, or themselves.

One forward and one backward pass of a batch give, per exemplar, the gradients of all that the encoder computes with its
parameters (`tatr.clip.towers.Watch`): exemplars do not mix there. The parameters' own gradients follow from these in
closed form, exemplar by exemplar, and are reduced and summed at once. So no parameter's gradient is ever held per
exemplar, and all of it costs little more than a plain backward pass.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture, OtherTower
from tatr.measuring.exemplar_products import REDUCE, Reduction, add_products
from tatr.merging.matrices.linear_maps import TRANSPOSED
from tatr.vectors.layout import Layout

TOKENS = 1024
"""In a micro-batch: enough for fast matrix products. Bounds what is kept for the backward pass (ViT-L/14: 2 GiB)."""


class GradientSums(clip.Watch):
    """Sums of per-exemplar gradients; watches forward passes, and every backward pass through them adds to the sums.

    The differentiated quantity is a sum over exemplars. The parameters need no gradients of torch's.
    """

    def __init__(self, parameters: clip.Parameters, reductions: Collection[Reduction]) -> None:
        """Begin with zeros for these parameters."""
        self.of: dict[Reduction, dict[str, Tensor]] = {
            reduction: {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
            for reduction in reductions
        }
        """Per reduction and parameter, in the parameter's shape."""

    def add(self, name: str, gradients: Tensor) -> None:
        """Add a parameter's gradients [B, …], one per exemplar."""
        for reduction, sums in self.of.items():
            sums[name] += REDUCE[reduction](gradients).sum(dim=0)

    def means(self, reduction: Reduction, count: int, layout: Layout, where: str) -> Iterator[np.ndarray]:
        """One of the sums divided by the number of exemplars: float32 tensors in the layout's order, one at a time.

        Raises:
            TatrError: a mean is not finite; `where` begins the message.
        """
        return means_of(self.of[reduction], count, layout, where)

    def linear(self, weight: str, bias: str | None, inputs: Tensor, outputs: Tensor) -> None:
        """Weight: Σ_t g_t a_tᵀ. Bias: Σ_t g_t."""
        kept = inputs.detach()

        def add(gradients: Tensor) -> None:
            matrices = {reduction: _matrix(weight, sums[weight]) for reduction, sums in self.of.items()}
            add_products(matrices, gradients, kept)
            if bias:
                self.add(bias, _over_tokens(gradients))

        _when_differentiated(outputs, add)

    def layer_norm(self, name: str, inputs: Tensor, outputs: Tensor) -> None:
        """Weight: Σ_t g_t ⊙ x̂_t, with x̂ the inputs normalised. Bias: Σ_t g_t."""
        kept = inputs.detach()

        def add(gradients: Tensor) -> None:
            normalised = F.layer_norm(kept, kept.shape[-1:])
            self.add(f"{name}.weight", _over_tokens(gradients * normalised))
            self.add(f"{name}.bias", _over_tokens(gradients))

        _when_differentiated(outputs, add)

    def embeddings(self, outputs: Tensor) -> None:
        """Positions: g. Class token: g of the first position."""

        def add(gradients: Tensor) -> None:
            self.add("visual.positional_embedding", gradients)
            self.add("visual.class_embedding", gradients[:, 0])

        _when_differentiated(outputs, add)


def means_of(sums: Mapping[str, Tensor], count: int, layout: Layout, where: str) -> Iterator[np.ndarray]:
    """Sums over exemplars divided by their number: float32 tensors in the layout's order, one at a time.

    Raises:
        TatrError: a mean is not finite; `where` begins the message.
    """
    layout.check_names(sums, where)
    for parameter in layout.parameters:
        mean = (sums[parameter.name] / count).cpu().numpy()
        layout.check_tensor(parameter, mean, where)
        yield mean


def micro_batches(architecture: Architecture, counts: Collection[int]) -> list[slice]:
    """Exemplars 0 to the largest of the counts, a few at a time; after each of the counts a micro-batch ends."""
    size, start, found = 32, 0, list[slice]()
    if not isinstance(architecture.vision, OtherTower):
        tokens = (architecture.image_size // architecture.vision.patch_size) ** 2 + 1
        size = max(1, min(size, TOKENS // tokens))
    for count in sorted(counts):
        while start < count:
            found.append(slice(start, min(start + size, count)))
            start = found[-1].stop
    return found


def _when_differentiated(outputs: Tensor, add: Callable[[Tensor], None]) -> None:
    if not outputs.requires_grad:  # the first of all outputs: here the graph begins
        outputs.requires_grad_()
    outputs.register_hook(add)


def _over_tokens(rows: Tensor) -> Tensor:
    return rows.sum(dim=1) if rows.ndim == 3 else rows


def _matrix(weight: str, values: Tensor) -> Tensor:
    """A weight's values as [out, in]."""
    return values.T if weight in TRANSPOSED else values.flatten(1)
