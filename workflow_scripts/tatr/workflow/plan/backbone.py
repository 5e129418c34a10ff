"""Where a configuration's backbone comes from, decided while the workflow is planned, without reading its weights."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tatr.clip.model_configs import check_model, check_preprocessing, model_config
from tatr.config.messages.mistakes import nearest
from tatr.config.weights import Backbone
from tatr.errors import Problems, TatrError
from tatr.weights.file_kinds import ENDINGS
from tatr.weights.fingerprint import fingerprint
from tatr.weights.json_object import json_object
from tatr.workflow.artefact import FILE

RESIZES = ("shortest", "squash")
"""What can be done to an image's sides, by open_clip's names."""

LARGE = 512
"""Width from which on an image tower is large: ViT-B's is 768 (N = 86 million), that of tiny CLIPs at most 256."""


@dataclass(frozen=True)
class BackboneSource:
    """Where a backbone comes from, before its weights are read."""

    label: str
    model: dict[str, Any]
    """open_clip's model config."""
    settings: dict[str, Any]
    """Its settings, which no other backbone has."""
    weights: Path | None = None
    """File or folder of the weights; None if they are downloaded."""
    download: dict[str, Any] = field(default_factory=dict)
    """The settings of the download, if so."""
    recipe: Path | None = None
    """How it was pre-trained, if it can be made again."""
    resize: str = "shortest"
    """How images get the model's size."""

    @property
    def is_large(self) -> bool:
        """Whether computing with its vectors takes longer than starting to."""
        vision = self.model["vision_cfg"]
        return not (isinstance(vision.get("width"), int) and vision["width"] < LARGE)


def find(backbone: str | Backbone, shipped: Path, problems: Problems) -> BackboneSource:
    """Find a backbone: by the name of a shipped one, as a folder, or as a model of open_clip's.

    Args:
        backbone: as the config has it.
        shipped: folder of the backbones that come with the project.
        problems: where it is noted that the weights of a model of open_clip's are missing.

    Raises:
        TatrError: there is no such backbone.
    """
    if isinstance(backbone, Backbone):
        return _of_open_clip(backbone, problems)
    folder = shipped / backbone if (shipped / backbone).is_dir() else Path(backbone).expanduser()
    if (folder / "open_clip_config.json").is_file():
        return _saved_by_open_clip(folder)
    try:
        model = json_object((folder / "model.json").read_bytes())
        # Its manifest says which weights they are.
        digest = json_object((folder / FILE).read_bytes())["content"]["model.safetensors"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        names = [path.name for path in shipped.iterdir() if path.is_dir()]
        raise TatrError(
            f"backbone: '{backbone}' is neither one of backbones/{nearest(backbone, names)} nor a folder with "
            f"open_clip_config.json (or with model.json, model.safetensors and {FILE}: {error}). Models of open_clip "
            "are written {name: ViT-B-32-quickgelu, weights: openai}"
        ) from None
    recipe, file = folder / "pretraining.json", folder / "model.safetensors"
    settings = {"model": model, "digest": digest}
    return BackboneSource(folder.name, model, settings, file, recipe=recipe if recipe.is_file() else None)


def _of_open_clip(backbone: Backbone, problems: Problems) -> BackboneSource:
    model = model_config(backbone.name)
    settings: dict[str, Any] = {"name": backbone.name, "model": model, "resize": backbone.resize}
    settings |= {key: list(value) for key in ("mean", "std") if (value := getattr(backbone, key))}
    path = Path(backbone.weights).expanduser()
    if "/" in backbone.weights or path.suffix in ENDINGS or path.exists():
        with problems.noting():
            settings["fingerprint"] = fingerprint(path, "backbone.weights")
        return BackboneSource(f"{backbone.name}_{path.stem}", model, settings, path, resize=backbone.resize)
    settings["weights"] = backbone.weights
    download = {"open_clip": backbone.name, "tag": backbone.weights}
    label = f"{backbone.name}_{backbone.weights}"
    return BackboneSource(label, model, settings, download=download, resize=backbone.resize)


def _saved_by_open_clip(folder: Path) -> BackboneSource:
    """A folder that open_clip (or `snakemake exported`) saved: open_clip_config.json and the weights next to it."""
    file = folder / "open_clip_config.json"
    try:
        config = json_object(file.read_bytes())
        preprocess = {**config.get("preprocess_cfg", {})}
        model = {**config["model_cfg"], "preprocess_cfg": preprocess}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TatrError(f"{file}: not a config that open_clip saved ({error!r}); copy it again") from None
    check_model(model, str(file))
    check_preprocessing(preprocess, f"{file}: preprocess_cfg")
    resize = preprocess.get("resize_mode", "shortest")
    if resize not in RESIZES:
        raise TatrError(
            f"{file}: preprocess_cfg.resize_mode: '{resize}': images are resized by 'shortest' or 'squash' here; "
            "use a model that was trained with one of these"
        )
    settings = {"model": model, "resize": resize, "fingerprint": fingerprint(folder, "backbone")}
    return BackboneSource(folder.name, model, settings, folder, resize=resize)
