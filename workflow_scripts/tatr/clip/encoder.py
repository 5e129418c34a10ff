"""The pre-trained image encoder, and the encoding of images in fp32, tf32 or bf16."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.errors import TatrError
from tatr.vectors.layout import Layout
from tatr.weights.encoder_file import EncoderFile

PRECISIONS = ("fp32", "tf32", "bf16")

logger = logging.getLogger("tatr")


@dataclass(frozen=True)
class Encoder:
    """The pre-trained image encoder θ_pre."""

    architecture: Architecture
    layout: Layout
    flat: np.ndarray
    """θ_pre, float32 [N]."""

    @classmethod
    def load(cls, model: Path, weights: Path) -> "Encoder":
        """Read an open_clip model config (model.json) and the image encoder's weights (encoder.safetensors)."""
        architecture = Architecture.of(json.loads(model.read_text(encoding="utf-8")), model.name)
        layout = architecture.layout()
        return cls(architecture, layout, EncoderFile(weights, layout)[0 : layout.size])


def check_precision(precision: str) -> None:
    """Raise unless images can be encoded in it."""
    if precision not in PRECISIONS:
        raise TatrError(f"precision = {precision!r}: expected one of {', '.join(PRECISIONS)}")


def encode(
    parameters: clip.Parameters,
    pixels: Tensor,
    architecture: Architecture,
    precision: str = "fp32",
    *,
    checkpointing: bool = False,
) -> Tensor:
    """Image features, float32 [B, D], not normalised, of normalised pixels [B, 3, H, W].

    In "bf16" torch's autocast computes convolutions, matrix products and attention in bfloat16, inside the encoder
    alone. In "tf32" a GPU rounds the factors of products and convolutions to TF32 (see `products`). Parameters, their
    gradients and all that is computed from the features are float32 in either case.
    """
    if precision == "tf32":
        _warn_without_tf32(pixels.device.type)
    with products(precision), torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bf16"):
        features = clip.image_features(parameters, pixels, architecture, checkpointing=checkpointing)
    return features.float()


@contextmanager
def products(precision: str) -> Iterator[None]:
    """How NVIDIA GPUs compute float32 products and convolutions: with 10-bit mantissas in "tf32", else in full.

    Torch's own default is neither: it rounds in convolutions alone. The setting is the whole process's, so a backward
    pass that is to be computed alike must be inside, too.
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@cache
def _warn_without_tf32(device: str) -> None:
    if device != "cuda" or torch.cuda.get_device_capability() < (8, 0):
        logger.warning("precision tf32: this device (%s) has no TF32, NVIDIA GPUs since 2020 do; using fp32", device)
