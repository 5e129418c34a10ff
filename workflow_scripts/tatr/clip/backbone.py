"""Pre-trained weights, checked against the model that will use them: activation, preprocessing, tensors."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tatr.clip.architecture import OPENAI_MEAN, OPENAI_STD, Architecture
from tatr.clip.model_configs import activation, check_preprocessing, counterpart
from tatr.digests import published_digest
from tatr.errors import TatrError
from tatr.vectors.layout import Layout
from tatr.weights.json_object import json_object

logger = logging.getLogger("tatr")

PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
"""What open_clip says of images, and model.json keeps."""


@dataclass(frozen=True)
class Known:
    """What is known of weights apart from their values."""

    authority: str
    """Who says so."""
    quick_gelu: bool | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    """Those of `PREPROCESSING` that are known."""


def of_tag(name: str, tag: str) -> Known:
    """What open_clip knows of the weights that it offers for a model.

    Raises:
        TatrError: it offers no such weights.
    """
    from open_clip import pretrained

    other = counterpart(name)
    offered = pretrained.get_pretrained_cfg(name, tag)
    if not offered and not (offered := pretrained.get_pretrained_cfg(other or "", tag)):
        tags = ", ".join(pretrained.list_pretrained_tags_by_model(name)) or "none"
        raise TatrError(f"backbone.weights: open_clip has no weights '{tag}' of {name} (it has: {tags})")
    # The table notes QuickGELU only. No note means GELU, if the model comes with either.
    quick_gelu = offered.get("quick_gelu", False if other else None)
    return Known("open_clip's table", quick_gelu, {key: offered[key] for key in PREPROCESSING if key in offered})


def of_file(path: Path, facts: Mapping[str, Any]) -> Known:
    """What is known of weights on disk: by their digest, by the file itself, by the configs in its folder.

    Args:
        path: a file, or a folder that holds one.
        facts: what is known from the file (`tatr.weights.importing.facts`).
    """
    if published := _published(path):
        return published
    folder = path if path.is_dir() else path.parent
    stated_in = folder / "open_clip_config.json"
    preprocess = _read_json(stated_in).get("preprocess_cfg") or {}
    if "transformers" in facts["format"]:
        _check_one_activation(folder / "config.json")
        stated_in = folder / "preprocessor_config.json"
        images = _read_json(stated_in)
        preprocess = {key: images[f"image_{key}"] for key in ("mean", "std") if f"image_{key}" in images}
    if not isinstance(preprocess, dict):
        raise TatrError(f"{stated_in}: preprocess_cfg: {preprocess!r}: expected a section; copy the file again")
    check_preprocessing(preprocess, str(stated_in))
    preprocess = {key: value for key, value in preprocess.items() if key in PREPROCESSING}
    return Known("as the file or the config in its folder says", facts["quick_gelu"], preprocess)


def check_activation(model: Mapping[str, Any], known: Known, name: str, weights: str) -> None:
    """Raise if weights were trained with another activation than the model has; log the one used if it is unknown."""
    quick_gelu = bool(model.get("quick_gelu", False))
    if known.quick_gelu is None:
        logger.info("%s: the activation of these weights is unknown; using %s", weights, activation(quick_gelu))
    elif known.quick_gelu != quick_gelu:
        other = counterpart(name)
        raise TatrError(
            f"{name} with weights '{weights}': these weights were trained with {activation(known.quick_gelu)} "
            f"({known.authority}), but this model has {activation(quick_gelu)}; use {other or 'a model of their own'}"
        )


def complete_config(
    model: Mapping[str, Any], known: Known, settings: Mapping[str, Any], weights: str
) -> dict[str, Any]:
    """The model config with its activation and preprocessing written out.

    Args:
        model: open_clip's config.
        known: of the weights.
        settings: `resize`, as images are decoded, and `mean` and `std`, if the user gives them.
        weights: for messages.

    Raises:
        TatrError: the weights expect images that were resized in another way.
    """
    resize = settings.get("resize", "shortest")
    defaults = {"mean": OPENAI_MEAN, "std": OPENAI_STD, "interpolation": "bicubic", "resize_mode": resize}
    expected = defaults | dict(model.get("preprocess_cfg", {})) | dict(known.preprocess)
    if expected["resize_mode"] != resize:
        raise TatrError(
            f"{weights}: these weights expect images resized by '{expected['resize_mode']}', but yours are "
            f"resized by '{resize}'; write backbone.resize: {expected['resize_mode']}"
        )
    if expected["interpolation"] != "bicubic":
        logger.warning(
            "%s: trained with %s resizing; this project uses bicubic, which differs little",
            weights,
            expected["interpolation"],
        )
    given = {key: settings[key] for key in ("mean", "std") if settings.get(key)}
    for key in ("mean", "std"):
        if given.get(key) and known.preprocess.get(key) and list(given[key]) != list(known.preprocess[key]):
            logger.warning("backbone.%s: %s, but these weights expect %s", key, given[key], known.preprocess[key])
    preprocess = {key: list(value) if isinstance(value, tuple) else value for key, value in (expected | given).items()}
    return {**model, "quick_gelu": bool(model.get("quick_gelu", False)), "preprocess_cfg": preprocess}


def split_towers(
    tensors: Mapping[str, np.ndarray], architecture: Architecture, where: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The tensors of the image encoder and all others, checked against the architecture.

    Raises:
        TatrError: they are of another model.
    """
    layout, text_layout = architecture.layout(), architecture.text_layout()
    visual = {name: tensor for name, tensor in tensors.items() if name.startswith("visual.")}
    text = {name: tensor for name, tensor in tensors.items() if name not in visual}
    if not text.keys() - {"logit_scale", "logit_bias"}:
        raise TatrError(
            f"{where}: holds no text encoder, which the zero-shot heads are made with; give the whole CLIP model"
        )
    text = _as_named(text, text_layout)
    _check_resolution(visual, layout, where)
    return _checked(visual, layout, where), _checked(text, text_layout, where)


def _checked(tensors: Mapping[str, np.ndarray], layout: Layout, where: str) -> dict[str, np.ndarray]:
    layout.check_names(tensors, where)
    for parameter in layout.parameters:
        layout.check_tensor(parameter, tensors[parameter.name], where)
    return {parameter.name: tensors[parameter.name] for parameter in layout.parameters}


def _as_named(text: Mapping[str, np.ndarray], layout: Layout) -> dict[str, np.ndarray]:
    """The text tensors by today's names and shapes: open_clip's older files lack the prefix `text.`."""
    shapes = {parameter.name: parameter.shape for parameter in layout.parameters}
    if any(name.startswith("text.") for name in shapes) and not any(name.startswith("text.") for name in text):
        text = {f"text.{name}" if f"text.{name}" in shapes else name: tensor for name, tensor in text.items()}
    single = {"logit_scale", "logit_bias"}
    return {
        name: tensor.reshape(shapes[name]) if name in single & shapes.keys() and tensor.size == 1 else tensor
        for name, tensor in text.items()
    }


def _check_resolution(visual: Mapping[str, np.ndarray], layout: Layout, where: str) -> None:
    for parameter in layout.parameters:
        tensor = visual.get(parameter.name)
        if "pos" in parameter.name and tensor is not None and tensor.ndim == len(parameter.shape):
            expected, shape = parameter.shape, tensor.shape
            if shape[-1] == expected[-1] and shape[-2:-1] != expected[-2:-1]:
                raise TatrError(
                    f"{where}: '{parameter.name}' has {shape[-2]} positions, and the model has {expected[-2]}: the "
                    "weights are for images of another size. Use the model of that size; nothing is interpolated"
                )


def _published(path: Path) -> Known | None:
    """What open_clip knows of a file that somebody published, recognised by its SHA-256."""
    if not path.is_file():
        return None
    from open_clip import pretrained

    digest = published_digest(path)
    for name, tag in pretrained.list_pretrained():
        # OpenAI's addresses contain the digest, open_clip's only its beginning.
        address = PurePosixPath(pretrained.get_pretrained_url(name, tag))
        stated = address.parent.name if len(address.parent.name) == 64 else address.stem.rpartition("-")[2]
        if len(stated) >= 8 and digest.startswith(stated):
            known = of_tag(name, tag)
            return Known(f"they are open_clip's {name} '{tag}'", known.quick_gelu, known.preprocess)
    return None


def _check_one_activation(path: Path) -> None:
    config = _read_json(path)
    parts = [config[part] for part in ("vision_config", "text_config") if isinstance(config.get(part), dict)]
    stated = {str(part.get("hidden_act", "quick_gelu")) for part in parts}
    if len(stated) > 1 or stated - {"quick_gelu", "gelu"}:
        raise TatrError(
            f"{path}: hidden_act is {', '.join(sorted(stated))}; expected quick_gelu or gelu, the same in both encoders"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json_object(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TatrError(f"{path}: not JSON ({error}); copy it again, or remove it") from None
