"""A model that was fine-tuned elsewhere, imported after checking that it was fine-tuned from our pre-trained one."""

from collections.abc import Mapping
from dataclasses import asdict
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.layout import Layout
from tatr.weights.encoder_file import EncoderFile
from tatr.weights.importing.formats import Clip
from tatr.weights.importing.provenance import (
    PROJECTION,
    check_activation,
    check_change,
    check_zero_shot,
    distance_from,
    with_projection,
)

_OF_PIXELS = ("visual.conv1.weight", "visual.positional_embedding")
"""Shapes that tell for which images a tower is: [width, channels, patch, patch] and [patches + 1, width]."""


def look(path: Path, layout: Layout | None, quick_gelu: bool) -> None:
    """Check what can be told of a fine-tuned model, or of its zero-shot copy, without reading a tensor.

    Args:
        path: the model's file or folder, in any format that `Clip` knows.
        layout: θ_pre's; None if it isn't known yet.
        quick_gelu: whether the backbone has QuickGELU (else plain GELU).

    Raises:
        TatrError: it is no CLIP model, or one of another architecture.
    """
    clip = Clip(path, text=False)
    check_activation(clip, quick_gelu)
    if layout is not None:
        check_encoder(clip, layout)


def check_encoder(clip: Clip, layout: Layout) -> None:
    """Check the names and shapes of an image encoder, without reading a tensor.

    Raises:
        TatrError: they are not the layout's.
    """
    where = str(clip.path)
    _check_pixels(clip, layout)
    names = {name for name in clip if name.startswith("visual.")}
    lent = {PROJECTION} if clip.family == "transformers" else set()  # `with_projection` adds it
    layout.check_names(names | (lent & {parameter.name for parameter in layout.parameters}), where)
    for parameter in layout.parameters:
        if parameter.name in clip:
            parameter.check_shape(clip.shape(parameter.name), where)


def _check_pixels(clip: Clip, layout: Layout) -> None:
    """Raise if an image tower is of the layout's kind, but takes images or patches of another size."""
    given = {name: clip.shape(name) for name in _OF_PIXELS if name in clip}
    (patch, size), (own, other) = _pixels({p.name: p.shape for p in layout.parameters}), _pixels(given)
    for what, expected, found in (("patches", patch, own), ("images", size, other)):
        if expected and found and expected != found:
            raise TatrError(
                f"{clip.path}: is an image tower for {what} of {found} × {found} pixels, expected {expected} × "
                f"{expected}, the backbone's; set a backbone for {found}"
            )


def _pixels(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int | None, int | None]:
    """The sides of patches and of images; None where the shapes don't tell."""
    match [shapes.get(name) for name in _OF_PIXELS]:
        case [(_, _, patch, other), (positions, _)] if patch == other:
            side = isqrt(max(positions - 1, 0))
            return patch, patch * side if side * side == positions - 1 else None
    return None, None


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
    check_encoder(clip, layout)
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
