"""open_clip's model configs, read out of the installed package without importing it, and which of them can be used.

They are needed while the workflow is planned, when importing open_clip would take seconds.
"""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tatr.errors import TatrError
from tatr.settings import plain_number

VISION_TRANSFORMERS = ("vit", "eva", "beit", "deit")
"""What timm's names of vision transformers begin with (ViTamin's among them)."""

ADVICE = "use one with a vision transformer such as ViT-B-32-quickgelu"


COUNTS = (
    *("embed_dim", "image_size", "patch_size", "layers", "width", "heads", "head_width"),
    *("context_length", "vocab_size"),
)
"""What of a model is a whole number, wherever its config states it; of two sides, one each."""


def model_config(name: str) -> dict[str, Any]:
    """open_clip's config of a model.

    Raises:
        TatrError: there is no such model, or it can't be used (`check_model`).
    """
    folder = _folder()
    path = folder / f"{name}.json"
    if path.parent != folder or not path.is_file():
        raise TatrError(f"backbone.name: open_clip has no model '{name}'{_nearest(name, folder)}")
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    check_model(config, f"backbone.name: {name}")
    return config


def check_model(config: Mapping[str, Any], where: str) -> None:
    """Raise unless the image encoder is a vision transformer and the libraries that the model needs are installed."""
    try:
        vision, text = config["vision_cfg"], config["text_cfg"]
    except KeyError as error:
        raise TatrError(f"{where}: the model config lacks {error}; it must be an open_clip model config") from None
    if not isinstance(vision, dict) or not isinstance(text, dict):
        raise TatrError(f"{where}: vision_cfg and text_cfg are not both sections; it must be an open_clip model config")
    _check_values(config, where)
    timm = vision.get("timm_model_name")
    if isinstance(vision.get("layers"), list):
        raise TatrError(f"{where}: a ResNet is not supported; {ADVICE}")
    if timm and not timm.startswith(VISION_TRANSFORMERS):
        raise TatrError(f"{where}: the image encoder {timm} is not a vision transformer and is not supported; {ADVICE}")
    _need("timm", timm, where)
    _need("transformers", text.get("hf_model_name") or text.get("hf_tokenizer_name"), where)


def check_preprocessing(preprocess: Mapping[str, Any], where: str) -> None:
    """Raise unless mean and deviation of the colours, if they are stated, are three numbers each."""
    for key in ("mean", "std"):
        value = preprocess.get(key, [1, 1, 1])
        numbers = isinstance(value, list | tuple) and all(plain_number(number) is not None for number in value)
        if not numbers or len(value) != 3 or (key == "std" and min(value) <= 0):
            above = " above 0" if key == "std" else ""
            raise TatrError(f"{where}: {key}: {value!r}: expected three numbers{above}, one per colour; correct it")


def image_size(config: Mapping[str, Any]) -> int:
    """Edge of the square images that a model takes, in pixels.

    Raises:
        TatrError: they are not square.
    """
    size = config["vision_cfg"].get("image_size", 224)
    if isinstance(size, list):
        if len(set(size)) != 1:
            raise TatrError(f"vision_cfg.image_size: {size}: only models of square images are supported")
        return int(size[0])
    return int(size)


def activation(quick_gelu: bool) -> str:
    """A name of the activation, for messages."""
    return "QuickGELU" if quick_gelu else "GELU"


def counterpart(name: str) -> str | None:
    """The model that differs only in its activation, if open_clip has it."""
    other = name.removesuffix("-quickgelu") if name.endswith("-quickgelu") else f"{name}-quickgelu"
    return other if (_folder() / f"{other}.json").is_file() else None


def _check_values(config: Mapping[str, Any], where: str) -> None:
    for section in ("", "vision_cfg", "text_cfg"):
        part = config[section] if section else config
        for key in COUNTS:
            value = part.get(key)
            sides = value if isinstance(value, list) and value else [value]
            if value is not None and not all(type(side) is int and side > 0 for side in sides):
                raise TatrError(
                    f"{where}: {section}{'.' * bool(section)}{key}: {value!r}: expected a whole number from 1 up"
                )
        for key in ("timm_model_name", "hf_model_name", "hf_tokenizer_name"):
            if not isinstance(value := part.get(key) or "", str):
                raise TatrError(f"{where}: {section}.{key}: {value!r}: expected a name")


def _need(library: str, what: str | None, where: str) -> None:
    if what and find_spec(library) is None:
        raise TatrError(
            f"{where}: needs {what} of the library {library}, which is not installed; install it (pip install "
            f"{library}) or {ADVICE}"
        )


def _folder() -> Path:
    package = find_spec("open_clip")
    if package is None or package.origin is None:
        raise TatrError("open_clip is not installed; reinstall the environment (pip install open_clip_torch)")
    return Path(package.origin).parent / "model_configs"


def _nearest(name: str, folder: Path) -> str:
    import difflib

    known = {path.stem.casefold(): path.stem for path in sorted(folder.glob("*.json"))}
    close = difflib.get_close_matches(name.casefold(), known, n=3, cutoff=0.5)
    return f"; did you mean {', '.join(known[match] for match in close)}?" if close else ""
