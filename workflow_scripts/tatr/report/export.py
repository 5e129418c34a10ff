"""A merged model as a folder that open_clip loads, and what it was made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tatr.clip.architecture import Architecture
from tatr.errors import TatrError
from tatr.vectors.apply import apply
from tatr.vectors.layout import Layout, all_finite, blocks
from tatr.vectors.threads import in_order
from tatr.vectors.vector import Vector
from tatr.weights.safetensors_file import SafetensorsFile, write_safetensors

WEIGHTS = "open_clip_model.safetensors"
CONFIG = "open_clip_config.json"
"""What open_clip looks for in a folder."""

Given = TypeVar("Given")


@dataclass(frozen=True)
class Parent:
    """One of the results that an exported model was made from."""

    name: str
    digest: str
    """Of its content."""
    folder: Path


@dataclass(frozen=True)
class Lineage:
    """What an exported model was made from, and what its evaluation measured."""

    pretrained: Parent
    direction: Parent
    mask: Parent | None
    """The trust region, if the direction is restricted to one."""
    evaluation: Parent
    surgery: Parent | None
    heads: Mapping[str, Parent]
    """Per task."""
    measured: frozenset[str]
    """Digests of all that the evaluation read."""
    with_surgery: bool
    """Whether the evaluation measured a model with surgery."""
    with_mask: bool
    """Whether it measured one inside a trust region."""

    def check(self) -> None:
        """Raise unless the evaluation measured the very model that is exported."""
        for parent in (self.pretrained, self.direction, self.mask, self.surgery, *self.heads.values()):
            if parent and parent.digest not in self.measured:
                raise TatrError(
                    f"{self.evaluation.folder}: measured another model than one with {parent.folder}; "
                    "give what the evaluation was made from"
                )
        if self.with_surgery and not self.surgery:
            raise TatrError(f"{self.evaluation.folder}: measured a model with surgery; give its --surgery, too")
        if self.with_mask and not self.mask:
            raise TatrError(f"{self.evaluation.folder}: measured a model inside a trust region; give its --masks, too")

    @property
    def parents(self) -> dict[str, Parent]:
        """The results by what the card calls them."""
        parents = {
            "pre-trained": self.pretrained,
            "direction v": self.direction,
            "trust region": self.mask,
            "evaluation": self.evaluation,
            "surgery": self.surgery,
            **{f"head of {task}": head for task, head in self.heads.items()},
        }
        return {name: parent for name, parent in parents.items() if parent}


def chosen(
    directions: Sequence[Given], masks: Sequence[Given], scores: Mapping[str, Any], where: str
) -> tuple[Given, Given | None]:
    """The direction and the mask that the evaluation chose, of those it was given in the same order.

    A direction is the one of all masks, or each mask has its own (`tatr.workflow.directions`).

    Raises:
        TatrError: there are fewer.
    """
    index, given = scores["direction"], [len(directions), len(masks)]
    single = len(directions) == 1 and (masks or not index)  # that of all masks
    if not directions or (masks and index >= len(masks)) or (not single and index >= len(directions)):
        raise TatrError(
            f"--directions: got {given[0]}, --masks: got {given[1]}, but {where} chose number {index + 1}; "
            "give all that it chose from"
        )
    return directions[0 if single else index], masks[index] if masks else None


def write_weights(
    path: Path, pretrained: Vector, direction: Vector, coefficient: float, layout: Layout, text: SafetensorsFile
) -> str:
    """Write the merged model: the image tower θ_pre + λ·v and the text tower as it is, float32, sorted by name.

    One block of θ_pre and v is in memory per thread.

    Args:
        path: the safetensors file to make.
        pretrained: θ_pre of the image tower, [N].
        direction: v, [N].
        coefficient: λ.
        layout: of both.
        text: the text tower and the logit scale.

    Returns:
        The file's digest.

    Raises:
        TatrError: an entry of the merged image tower is not finite.
    """
    visual = {parameter.name: parameter for parameter in layout.parameters}
    shapes = {name: entry.shape for name, entry in text.entries.items()} | {n: p.shape for n, p in visual.items()}
    names = sorted(shapes, key=str.encode)
    merged = apply(pretrained, direction, coefficient)

    def part(place: tuple[str, slice]) -> np.ndarray:
        name, block = place
        if name not in visual:
            return text.read(name, block)
        offset = visual[name].offset
        entries = merged[offset + block.start : offset + block.stop]
        if not all_finite(entries):
            raise TatrError(f"the merged model (λ = {coefficient:g}): '{name}' holds NaN or infinity; it is not usable")
        return entries

    places = ((name, block) for name in names for block in blocks(prod(shapes[name])))
    return write_safetensors(path, {name: ("F32", shapes[name]) for name in names}, in_order(part, places))


def open_clip_config(model: Mapping[str, Any]) -> dict[str, Any]:
    """`open_clip_config.json` of an open_clip model config.

    The activation is written out even where the config leaves it to the default: a model of OpenAI's that is loaded
    without QuickGELU gives wrong features without a word.
    """
    architecture = Architecture.of(model, "model.json")
    config = {key: value for key, value in model.items() if key != "preprocess_cfg"}
    preprocess = {
        "mean": architecture.mean,
        "std": architecture.std,
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    return {
        "model_cfg": config | {"quick_gelu": architecture.vision.quick_gelu},
        "preprocess_cfg": preprocess | model.get("preprocess_cfg", {}),
    }
