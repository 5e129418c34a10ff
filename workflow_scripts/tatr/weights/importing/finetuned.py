"""A model that was fine-tuned elsewhere, imported after checking that it was fine-tuned from our pre-trained one."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tatr.weights.encoder_file import EncoderFile
from tatr.weights.importing.formats import Clip
from tatr.weights.importing.provenance import (
    check_activation,
    check_change,
    check_zero_shot,
    distance_from,
    with_projection,
)


def read_finetuned(
    path: Path, zero_shot: Path | None, pretrained: EncoderFile, quick_gelu: bool
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The image encoder of a fine-tuned model, and a record of what was found in its file.

    Args:
        path: the model's file or folder, in any format that `Clip` knows.
        zero_shot: the copy of the model before fine-tuning that came with it, if one did.
        pretrained: θ_pre.
        quick_gelu: whether the backbone has QuickGELU (else plain GELU).

    Returns:
        θ_k, float32, by θ_pre's names, and a record for people: the format, the distances of θ_k and of the copy from
        θ_pre, the tensors that θ_pre lent, and the names in the file that were passed over.

    Raises:
        TatrError: it is no CLIP model, one of another architecture, not finite, or not fine-tuned from θ_pre.
    """
    clip, layout = Clip(path, text=False), pretrained.layout
    check_activation(clip, quick_gelu)
    copy = None if zero_shot is None else check_zero_shot(zero_shot, pretrained, quick_gelu)
    tensors = layout.unflatten(layout.flatten(with_projection(clip, pretrained), str(path)))
    change = distance_from(tensors, pretrained, str(path))
    check_change(change, path, compared=copy is not None)
    record = {
        "format": clip.format,
        "quick_gelu": clip.quick_gelu,
        "zero_shot": None if zero_shot is None or copy is None else {"file": zero_shot.name, **asdict(copy)},
        "change": asdict(change),
        "from_pretrained": sorted(set(tensors) - set(clip)),
        "dropped": clip.dropped,
    }
    return tensors, record
