"""Input Gram matrices, measured: one forward pass per exemplar, watching linear maps and norms of the image encoder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.clip.encoder import Encoder
from tatr.data.exemplars import draw_exemplars, read_exemplars
from tatr.data.image_store import open_images
from tatr.merging.matrices.linear_maps import gram_layout
from tatr.progress import progress
from tatr.training.recipes.exemplars import Exemplars
from tatr.vectors.layout import Layout
from tatr.vectors.vector import Vector, recut

BATCH = 32
"""Exemplars per forward pass."""


def measure_grams(
    encoder: Encoder, finetuned: Vector, images: Path, exemplars: Exemplars, device: str
) -> tuple[Layout, Iterator[np.ndarray]]:
    """Gram matrices of the inputs of every linear map of a fine-tuned encoder, and of scales; no label is read.

    Args:
        encoder: θ_pre, for its architecture and layout.
        finetuned: θ_k, [N].
        images: the task's image store.
        exemplars: which of its training images.
        device: for torch.

    Returns:
        The layout of the matrices, and all of them as the blocks of one float32 vector over it. A matrix is freed
        once it was given.

    Raises:
        TatrError: there are fewer training images than exemplars, or the encoder is no standard CLIP transformer.
    """
    stored = open_images(images, "train")
    chosen = draw_exemplars(len(stored), exemplars.count, exemplars.seed, str(images))
    parameters = clip.to_tensors(encoder.layout.unflatten(finetuned[0 : encoder.layout.size]), device)
    grams = input_grams(encoder.architecture, parameters, read_exemplars(stored, chosen), device)
    layout = gram_layout(encoder.layout)
    layout.check_names(grams, "what was watched")
    matrices = (grams.pop(parameter.name).cpu().numpy() for parameter in layout.parameters)
    return layout, recut(matrices, layout.size)


@torch.no_grad()
def input_grams(
    architecture: Architecture, parameters: clip.Parameters, images: np.ndarray, device: str
) -> dict[str, Tensor]:
    """Σ x xᵀ over all inputs x of each linear map (tokens and exemplars), divided by the number of exemplars.

    Of each norm's scale, Σ x̂², the diagonal, with x̂ the normalised inputs.

    Sums are kept in float32, one matrix product per batch: over 256 images and the shipped backbone no entry was
    further than 7e-7 · √(G_ii G_jj) from the float64 sum, and float64 would add 2 GB for ViT-L/14.

    Args:
        architecture: of the encoder.
        parameters: where the inputs are taken (θ_k).
        images: uint8 [n, H, W, 3].
        device: on which to compute; the result stays there.

    Returns:
        Per weight name, float32 [in, in]; of a scale [width].
    """
    grams = InputGrams()
    starts = range(0, len(images), BATCH)
    for start in progress(starts, "Gram matrices"):
        pixels = clip.normalise(images[start : start + BATCH], architecture, device)
        clip.image_features(parameters, pixels, architecture, grams)
    return {name: total.div_(len(images)) for name, total in grams.sums.items()}


class InputGrams(clip.Watch):
    """Adds up x xᵀ over the inputs of each linear map, and x̂² of each norm, in every forward pass that it watches.

    RegMean is a regression over the inputs of every map, those that no output depends on included, as published.
    """

    all_tokens = True

    def __init__(self) -> None:
        """Begin with nothing."""
        self.sums: dict[str, Tensor] = {}
        """Per weight name, [in, in]; of a scale [width]."""

    def linear(self, weight: str, bias: str | None, inputs: Tensor, outputs: Tensor) -> None:
        """Add the inputs of one map."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        if weight not in self.sums:
            self.sums[weight] = torch.zeros(rows.shape[-1], rows.shape[-1], device=rows.device)
        self.sums[weight].addmm_(rows.T, rows)

    def layer_norm(self, name: str, inputs: Tensor, outputs: Tensor) -> None:
        """Add the normalised inputs of one scale."""
        rows = F.layer_norm(inputs, inputs.shape[-1:]).reshape(-1, inputs.shape[-1])
        weight = f"{name}.weight"
        self.sums[weight] = self.sums.get(weight, 0) + rows.square().sum(dim=0)
