"""Whether a model was fine-tuned from our pre-trained one: by its zero-shot copy, or by its distance from it."""

import logging
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, sqrt
from pathlib import Path

import numpy as np

from tatr.errors import TatrError
from tatr.weights.encoder_file import EncoderFile
from tatr.weights.importing.formats import ZERO_SHOT, Clip, zero_shot_copies

logger = logging.getLogger("tatr")

ROUNDING = (2.0**-10, 2.0**-24)
"""How far a copy of θ_pre may be off, relative to a tensor's norm and per entry: twice what rounding to half precision
can do. It moves an entry by at most 2^-11 of its value, or by 2^-25 where the value is tiny (a subnormal number)."""

FARTHEST = 0.5
"""Largest ‖Δ‖ / ‖θ_pre‖ over the matrices that passes for fine-tuning. Weights of two trainings are uncorrelated, so
that a model of another base lies at √(1 + r²) ≥ 1, with r the ratio of their norms. Fine-tuning stays near: the
project's small CLIP, at 60 times the usual learning rate, at 0.11. Gains and biases are left out, as they are alike in
all models."""

PROJECTION = "visual.proj"


@dataclass(frozen=True)
class Distance:
    """How far an encoder is from θ_pre."""

    relative: float
    """‖θ − θ_pre‖ / ‖θ_pre‖."""
    matrices: float
    """The same over the tensors of two and more dimensions."""
    largest: float
    """max |θ − θ_pre|."""
    tensor: str
    """Where that is."""
    rounded: bool
    """Whether each tensor is θ_pre's up to rounding to half precision."""

    def __str__(self) -> str:
        return f"‖difference‖ / ‖θ_pre‖ = {self.relative:.3g}, largest entry {self.largest:.3g} in '{self.tensor}'"


def distance_from(tensors: Mapping[str, np.ndarray], pretrained: EncoderFile, where: str) -> Distance:
    """Distance of an encoder from θ_pre; tensors are read one at a time.

    Raises:
        TatrError: names, shapes or types are not θ_pre's, or an entry is not finite.
    """
    pretrained.layout.check_names(tensors, where)
    squares, matrices = np.zeros(2), np.zeros(2)
    largest, largest_in, rounded = -inf, "", True
    for parameter in pretrained.layout.parameters:
        tensor = tensors[parameter.name]
        pretrained.layout.check_tensor(parameter, tensor, where)
        before = pretrained[parameter.offset : parameter.stop].astype(np.float64)
        change = tensor.reshape(-1) - before
        norms = np.array([change @ change, before @ before])
        squares += norms
        if len(parameter.shape) > 1:
            matrices += norms
        if (most := float(np.abs(change).max(initial=0.0))) > largest:
            largest, largest_in = most, parameter.name
        rounded &= bool(sqrt(norms[0]) <= ROUNDING[0] * sqrt(norms[1]) + ROUNDING[1] * sqrt(parameter.size))
    return Distance(_ratio(squares), _ratio(matrices), largest, largest_in, rounded)


def with_projection(clip: Clip, pretrained: EncoderFile) -> Mapping[str, np.ndarray]:
    """The encoder of a file. Where it was saved without the projection, as CLIPVisionModel is, θ_pre's is taken.

    Fine-tuning without the projection in the model can't have changed it.
    """
    if PROJECTION in clip or clip.family != "transformers":
        return clip
    projection = next((p for p in pretrained.layout.parameters if p.name == PROJECTION), None)
    if projection is None:
        return clip
    logger.info("%s: has no projection; using the pre-trained model's", clip.path)
    return ChainMap(
        {PROJECTION: pretrained[projection.offset : projection.stop].reshape(projection.shape)},
        clip,  # type: ignore[arg-type]  # never written to
    )


def zero_shot_copy_of(file: Path) -> Path | None:
    """The zero-shot copy in the same folder: `zeroshot.pt` next to `finetuned.pt`, and the like.

    Args:
        file: of the fine-tuned model, or its folder.
    """
    if file.is_dir():
        return next(iter(zero_shot_copies(file)), None)
    names = [file.name.replace("finetuned", word) for word in ZERO_SHOT]
    return next((file.with_name(name) for name in names if name != file.name and file.with_name(name).exists()), None)


def check_zero_shot(path: Path, pretrained: EncoderFile, quick_gelu: bool) -> Distance:
    """Compare the zero-shot copy that came with a fine-tuned model with θ_pre.

    Raises:
        TatrError: they differ by more than rounding.
    """
    clip = Clip(path, text=False)
    check_activation(clip, quick_gelu)
    distance = distance_from(with_projection(clip, pretrained), pretrained, str(path))
    if not distance.rounded:
        raise TatrError(
            f"{path}: the model was not fine-tuned from this backbone: its zero-shot copy differs by more "
            f"than rounding ({distance}); set the backbone it was fine-tuned from"
        )
    return distance


def check_change(change: Distance, path: Path, *, compared: bool) -> None:
    """Refuse a fine-tuned model that is θ_pre itself or can't come from it.

    Args:
        change: its distance from θ_pre.
        path: for messages.
        compared: whether a zero-shot copy has shown where it comes from.

    Raises:
        TatrError: it is one of these.
    """
    if change.largest == 0:
        raise TatrError(f"{path}: is the pre-trained model itself (Δ = 0); give the fine-tuned one")
    if change.rounded:
        logger.warning("%s: differs from the pre-trained model only by rounding (%s)", path, change)
    of_matrices = f"{change}; over the matrices alone {change.matrices:.3g}"
    if compared:
        logger.info("%s: its zero-shot copy is this backbone; %s", path, of_matrices)
        return
    logger.info("%s: no zero-shot copy to compare with; %s", path, of_matrices)
    if change.matrices > FARTHEST:
        raise TatrError(
            f"{path}: too far from the backbone to be fine-tuned from it: {of_matrices}, expected at most {FARTHEST}; "
            "set the backbone it was fine-tuned from, "
            "or give its zero-shot copy (zero_shot)"
        )


def check_activation(clip: Clip, quick_gelu: bool) -> None:
    """Raise if a file is known to be of a model with another activation than the backbone's."""
    if clip.quick_gelu not in (None, quick_gelu):
        names = {True: "QuickGELU", False: "GELU"}
        raise TatrError(
            f"{clip.path}: was made with {names[not quick_gelu]}, but the backbone has {names[quick_gelu]}; "
            "set a backbone with the same activation (open_clip names those of OpenAI's weights ViT-…-quickgelu)"
        )


def _ratio(squares: np.ndarray) -> float:
    return float(sqrt(squares[0] / squares[1])) if squares[1] else (inf if squares[0] else 0.0)
