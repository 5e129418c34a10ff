"""The shape of a CLIP model, from an open_clip model config: sizes, parameter names and shapes.

A tower that is a standard CLIP transformer is described here and computed by `tatr.clip.towers`, without importing
open_clip. Every other kind is left to open_clip's own classes (`tatr.clip.open_clip_towers`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tatr.clip.model_configs import check_model, image_size
from tatr.errors import TatrError
from tatr.vectors.layout import Layout

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

# `patch_dropout` acts in training runs of open_clip's only; nothing is dropped here.
VISION = {"image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio", "patch_dropout"}
TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
MODEL = {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "preprocess_cfg", "init_logit_scale"}
"""What the config of a standard CLIP model may say."""


@dataclass(frozen=True)
class Tower:
    """A standard transformer of a CLIP model."""

    width: int
    layers: int
    heads: int
    mlp_width: int
    quick_gelu: bool

    def blocks(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the residual blocks' parameters, in open_clip's order."""
        w, m = self.width, self.mlp_width
        block = {
            "ln_1.weight": (w,),
            "ln_1.bias": (w,),
            "attn.in_proj_weight": (3 * w, w),
            "attn.in_proj_bias": (3 * w,),
            "attn.out_proj.weight": (w, w),
            "attn.out_proj.bias": (w,),
            "ln_2.weight": (w,),
            "ln_2.bias": (w,),
            "mlp.c_fc.weight": (m, w),
            "mlp.c_fc.bias": (m,),
            "mlp.c_proj.weight": (w, m),
            "mlp.c_proj.bias": (w,),
        }
        return {f"{prefix}.{i}.{name}": shape for i in range(self.layers) for name, shape in block.items()}


@dataclass(frozen=True)
class VisionTower(Tower):
    """A standard vision transformer: class token, learned positions, projection."""

    patch_size: int


@dataclass(frozen=True)
class OtherTower:
    """A tower of any other kind, which open_clip's own classes compute."""

    model: str
    """The model's whole config, as JSON."""
    quick_gelu: bool


@dataclass(frozen=True)
class Architecture:
    """A CLIP model with a vision transformer."""

    embed_dim: int
    image_size: int
    vision: VisionTower | OtherTower
    text: Tower | OtherTower
    context_length: int
    vocab_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any], where: str) -> "Architecture":
        """Read an open_clip model config, which `where` names in errors.

        Raises:
            TatrError: a key is missing, or the image encoder is not a vision transformer.
        """
        check_model(config, where)
        vision, text, preprocess = config["vision_cfg"], config["text_cfg"], config.get("preprocess_cfg", {})
        quick = bool(config.get("quick_gelu", False))
        without_preprocessing = {key: value for key, value in config.items() if key != "preprocess_cfg"}
        other = OtherTower(json.dumps(without_preprocessing, sort_keys=True), quick)
        try:
            return cls(
                embed_dim=config["embed_dim"],
                image_size=image_size(config),
                vision=_vision(vision, quick) if _only(vision, VISION) else other,
                text=_text(text, quick) if _only(text, TEXT) and _only(config, MODEL) else other,
                context_length=text.get("context_length", 77),
                vocab_size=text.get("vocab_size", 49408),
                mean=tuple(preprocess.get("mean", OPENAI_MEAN)),
                std=tuple(preprocess.get("std", OPENAI_STD)),
            )
        except KeyError as error:
            raise TatrError(f"{where}: the model config lacks {error}; it must be an open_clip model config") from None

    def layout(self) -> Layout:
        """The image encoder's parameters, `visual.*`, in open_clip's order."""
        if isinstance(self.vision, OtherTower):
            from tatr.clip import open_clip_towers

            return Layout.of(open_clip_towers.image_shapes(self.vision.model))
        w, patch = self.vision.width, self.vision.patch_size
        tokens = (self.image_size // patch) ** 2 + 1
        return Layout.of(
            {
                "visual.class_embedding": (w,),
                "visual.positional_embedding": (tokens, w),
                "visual.proj": (w, self.embed_dim),
                "visual.conv1.weight": (w, 3, patch, patch),
                "visual.ln_pre.weight": (w,),
                "visual.ln_pre.bias": (w,),
                **self.vision.blocks("visual.transformer.resblocks"),
                "visual.ln_post.weight": (w,),
                "visual.ln_post.bias": (w,),
            }
        )

    def text_layout(self) -> Layout:
        """The text encoder's parameters, the logit scale, and everything else in the model but the image encoder."""
        if isinstance(self.text, OtherTower):
            from tatr.clip import open_clip_towers

            return Layout.of(open_clip_towers.text_shapes(self.text.model))
        w = self.text.width
        return Layout.of(
            {
                "positional_embedding": (self.context_length, w),
                "text_projection": (w, self.embed_dim),
                "logit_scale": (),
                **self.text.blocks("transformer.resblocks"),
                "token_embedding.weight": (self.vocab_size, w),
                "ln_final.weight": (w,),
                "ln_final.bias": (w,),
            }
        )


def _vision(config: Mapping[str, Any], quick_gelu: bool) -> VisionTower:
    w, heads = config["width"], config["width"] // config.get("head_width", 64)
    return VisionTower(w, config["layers"], heads, _mlp_width(config), quick_gelu, config["patch_size"])


def _text(config: Mapping[str, Any], quick_gelu: bool) -> Tower:
    return Tower(config["width"], config["layers"], config["heads"], _mlp_width(config), quick_gelu)


def _mlp_width(config: Mapping[str, Any]) -> int:
    return int(config["width"] * config.get("mlp_ratio", 4.0))


def _only(config: Mapping[str, Any], known: set[str]) -> bool:
    """Whether a config has no other keys than the known ones (keys that are switched off don't count)."""
    return all(config[key] in (None, False, 0, 0.0) for key in config.keys() - known)
