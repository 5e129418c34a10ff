"""How an individual model is trained."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval


def check_crop_scale(scale: tuple[float, float]) -> tuple[float, float]:
    """Raise a ValueError unless these are two shares, in order."""
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError("expected two shares above 0 and up to 1, the smaller first")
    return scale


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """How an individual model is trained: AdamW, linear warm-up then cosine decay to zero, cross-entropy."""

    steps: Annotated[int, Interval(ge=1), "optimiser steps per task"] = 2000
    batch_size: Annotated[int, Interval(ge=1), "images per step"] = 128
    learning_rate: Annotated[float, Interval(gt=0), "peak learning rate"] = 1e-5
    weight_decay: Annotated[float, Interval(ge=0), "of AdamW, on all parameters"] = 0.1
    warmup_steps: Annotated[int, Interval(ge=0), "steps of linear warm-up, out of `steps`"] = 500
    gradient_clip: Annotated[float, Interval(gt=0), "largest gradient norm"] = 1.0
    precision: Annotated[
        Literal["fp32", "tf32", "bf16"],
        "tf32: products rounded on NVIDIA GPUs; bf16: autocast; both faster there, weights stay fp32",
    ] = "fp32"
    micro_batch: Annotated[
        int | None, Interval(ge=1), "images at once, gradients added up; null takes the whole batch"
    ] = None
    checkpointing: Annotated[bool, "recompute activations in the backward pass: less memory, more time"] = False
    crop_scale: Annotated[tuple[float, float], check_crop_scale, "share of the image a random crop keeps: from, to"] = (
        0.9,
        1.0,
    )
    seed: Annotated[int, Interval(ge=0), "of batches and crops"]
