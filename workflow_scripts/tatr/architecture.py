"""The shape of a CLIP model, from an open_clip model config: sizes, parameter names and shapes. No torch needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tatr.errors import TatrError
from tatr.layout import Layout

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Tower:
    """One transformer of a CLIP model."""

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
class Architecture:
    """A CLIP model with a standard vision transformer (class token, learned positions, projection)."""

    embed_dim: int
    image_size: int
    patch_size: int
    vision: Tower
    text: Tower
    context_length: int
    vocab_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, config: Mapping[str, Any], source: str) -> "Architecture":
        """Read an open_clip model config.

        Raises:
            TatrError: a key is missing, or asks for a variant that `tatr.clip` does not compute.
        """
        try:
            vision, text = config["vision_cfg"], config["text_cfg"]
            _refuse_variants(vision, {"image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio"}, source)
            _refuse_variants(text, {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}, source)
            if isinstance(vision["layers"], list):
                raise TatrError(
                    f"{source}: a ResNet is not supported; use a vision transformer such as ViT-B-32-quickgelu"
                )
            quick, preprocess = bool(config.get("quick_gelu", False)), config.get("preprocess_cfg", {})
            return cls(
                embed_dim=config["embed_dim"],
                image_size=vision["image_size"],
                patch_size=vision["patch_size"],
                vision=_tower(vision, vision["width"] // vision.get("head_width", 64), quick),
                text=_tower(text, text["heads"], quick),
                context_length=text["context_length"],
                vocab_size=text["vocab_size"],
                mean=tuple(preprocess.get("mean", OPENAI_MEAN)),
                std=tuple(preprocess.get("std", OPENAI_STD)),
            )
        except KeyError as error:
            raise TatrError(f"{source}: the model config lacks {error}; it must be an open_clip model config") from None

    def layout(self) -> Layout:
        """The image encoder's parameters, `visual.*`, in open_clip's order."""
        w = self.vision.width
        tokens = (self.image_size // self.patch_size) ** 2 + 1
        return Layout.of(
            {
                "visual.class_embedding": (w,),
                "visual.positional_embedding": (tokens, w),
                "visual.proj": (w, self.embed_dim),
                "visual.conv1.weight": (w, 3, self.patch_size, self.patch_size),
                "visual.ln_pre.weight": (w,),
                "visual.ln_pre.bias": (w,),
                **self.vision.blocks("visual.transformer.resblocks"),
                "visual.ln_post.weight": (w,),
                "visual.ln_post.bias": (w,),
            }
        )

    def text_layout(self) -> Layout:
        """The text encoder's parameters and the logit scale."""
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


def _tower(config: Mapping[str, Any], heads: int, quick_gelu: bool) -> Tower:
    width = config["width"]
    return Tower(width, config["layers"], heads, int(width * config.get("mlp_ratio", 4.0)), quick_gelu)


def _refuse_variants(config: Mapping[str, Any], known: set[str], source: str) -> None:
    if variants := sorted(key for key in config.keys() - known if config[key] not in (None, False, 0, 0.0)):
        raise TatrError(
            f"{source}: {', '.join(variants)} ask for a variant of CLIP that is not supported; "
            "use a standard vision transformer such as ViT-B-32-quickgelu"
        )
