"""CLIP's two towers as pure functions of named tensors (open_clip's names and arithmetic).

Why not open_clip's own modules? Functions of named tensors are what merged models and per-exemplar gradients need, and
importing open_clip loads torchvision, timm and torch's compiler: several seconds in each of a run's
dozens of jobs. The tests compare these functions with open_clip's classes. Towers that are no standard CLIP
transformers are left to these classes after all (`tatr.clip.open_clip_towers`).
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the field's name for it)
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tatr.clip.architecture import Architecture, OtherTower, Tower, VisionTower
from tatr.errors import TatrError

Parameters = Mapping[str, Tensor]


class Watch:
    """Is told of all that the image encoder computes with its parameters in a forward pass; this one ignores it.

    B images of T tokens. Only the class token leaves the last block; where it is the only one left, there is no axis of
    tokens.
    """

    all_tokens = False
    """Whether the last block is to compute what no output depends on: all tokens after its attention."""

    def linear(self, weight: str, bias: str | None, inputs: Tensor, outputs: Tensor) -> None:
        """A linear map from inputs [B, T, in] or [B, in] to outputs [B, T, out] or [B, out].

        The inputs of the patch convolution are its windows, [B, patches, 3 · size²].
        """

    def layer_norm(self, name: str, inputs: Tensor, outputs: Tensor) -> None:
        """A LayerNorm, `name`.weight and `name`.bias, from inputs to outputs [B, T, width] or [B, width]."""

    def embeddings(self, outputs: Tensor) -> None:
        """Class token and patches with their positions added, [B, T, width]; the class token is the first."""


UNWATCHED = Watch()


def to_tensors(arrays: Mapping[str, np.ndarray], device: str = "cpu") -> dict[str, Tensor]:
    """Parameters as float32 tensors on a device."""
    return {name: torch.tensor(array, dtype=torch.float32, device=device) for name, array in arrays.items()}


def normalise(images: np.ndarray | Tensor, architecture: Architecture, device: str = "cpu") -> Tensor:
    """Pixels as the encoder takes them: uint8 [B, H, W, 3] → float32 [B, 3, H, W], mean and std removed."""
    pixels = torch.as_tensor(images, device=device).permute(0, 3, 1, 2).float() / 255
    return (pixels - _per_channel(architecture.mean, device)) / _per_channel(architecture.std, device)


@cache
def _per_channel(values: tuple[float, ...], device: str) -> Tensor:
    # Copied once: each copy would wait until a GPU has done all that it was told before.
    return torch.tensor(values, device=device).view(1, 3, 1, 1)


def image_features(
    p: Parameters, pixels: Tensor, architecture: Architecture, watch: Watch = UNWATCHED, *, checkpointing: bool = False
) -> Tensor:
    """Image features [B, D], not normalised, of normalised pixels [B, 3, H, W].

    With checkpointing, a backward pass finds only each residual block's input kept and computes the rest of it again.

    Raises:
        TatrError: the tower is open_clip's own, and can't be watched or checkpointed.
    """
    tower = architecture.vision
    if isinstance(tower, OtherTower):
        _refuse(watch=watch is not UNWATCHED, checkpointing=checkpointing)
        return _open_clip_towers().image_features(p, pixels, tower.model)
    x = embedded(p, pixels, tower, watch)
    blocks = "visual.transformer.resblocks"
    x = _transformer(x, p, blocks, tower, watch, pooled=not watch.all_tokens, checkpointing=checkpointing)
    return projected(x[:, 0] if watch.all_tokens else x, p, watch)


def embedded(p: Parameters, pixels: Tensor, tower: VisionTower, watch: Watch = UNWATCHED) -> Tensor:
    """What the image encoder's first residual block takes, [B, T, width], of normalised pixels [B, 3, H, W]."""
    size = tower.patch_size
    patches = F.conv2d(pixels, p["visual.conv1.weight"], stride=size).flatten(2).transpose(1, 2)
    if watch is not UNWATCHED:  # a convolution whose windows do not overlap is a linear map of each window
        watch.linear("visual.conv1.weight", None, F.unfold(pixels, size, stride=size).transpose(1, 2), patches)
    token = p["visual.class_embedding"].expand(len(patches), 1, -1)
    x = torch.cat([token, patches], dim=1) + p["visual.positional_embedding"]
    watch.embeddings(x)
    return _layer_norm(x, p, "visual.ln_pre", watch)


def projected(x: Tensor, p: Parameters, watch: Watch = UNWATCHED) -> Tensor:
    """Image features [B, D], not normalised, of the class token that the last residual block gave, [B, width]."""
    x = _layer_norm(x, p, "visual.ln_post", watch)
    features = x @ p["visual.proj"]
    watch.linear("visual.proj", None, x, features)
    return features


def text_features(p: Parameters, tokens: Tensor, architecture: Architecture) -> Tensor:
    """Text features [B, D], not normalised, of token ids [B, context length]."""
    if isinstance(architecture.text, OtherTower):
        return _open_clip_towers().text_features(p, tokens, architecture.text.model)
    x = p["token_embedding.weight"][tokens] + p["positional_embedding"]
    x = _transformer(x, p, "transformer.resblocks", architecture.text, causal=True)
    # The end-of-text token has the highest id of the vocabulary; its position holds the text's feature.
    ends = _layer_norm(x, p, "ln_final")[torch.arange(len(x)), tokens.argmax(dim=-1)]
    return ends @ p["text_projection"]


def logits(p: Parameters, pixels: Tensor, head: Tensor, architecture: Architecture) -> Tensor:
    """Class scores [B, C] of normalised pixels, through a zero-shot head [C, D]."""
    return scores(image_features(p, pixels, architecture), head)


def scores(features: Tensor, head: Tensor) -> Tensor:
    """Class scores [..., C] of image features [..., D], through a zero-shot head [C, D] with exp(logit scale) in it."""
    return F.normalize(features, dim=-1) @ head.T


def tokens_of(texts: Sequence[str], architecture: Architecture) -> Tensor:
    """Token ids [B, context length] by the model's tokenizer."""
    if isinstance(architecture.text, OtherTower):
        return _open_clip_towers().tokenize(texts, architecture.text.model)
    return tokenize(texts, architecture.context_length)


def tokenize(texts: Sequence[str], context_length: int) -> Tensor:
    """Token ids [B, context length] by CLIP's tokenizer."""
    tokens: Tensor = _tokenizer_module().SimpleTokenizer(context_length=context_length)(list(texts))
    return tokens


def _transformer(
    x: Tensor,
    p: Parameters,
    prefix: str,
    tower: Tower,
    watch: Watch = UNWATCHED,
    *,
    causal: bool = False,
    pooled: bool = False,
    checkpointing: bool = False,
) -> Tensor:
    """Tokens [B, T, width] to tokens; pooled, to the first of them, [B, width]."""
    block = partial(residual_block, p=p, tower=tower, watch=watch, causal=causal)
    # Nothing in a block is random.
    through = partial(checkpoint, block, use_reentrant=False, preserve_rng_state=False) if checkpointing else block
    for i in range(tower.layers):
        x = through(x, name=f"{prefix}.{i}", pooled=pooled and i == tower.layers - 1)
    return x


def residual_block(
    x: Tensor,
    p: Parameters,
    name: str,
    tower: Tower,
    watch: Watch = UNWATCHED,
    *,
    causal: bool = False,
    pooled: bool = False,
) -> Tensor:
    """One block of a tower, `name` of its parameters: tokens [B, T, width] to tokens; pooled, to the first of them."""
    activate: Callable[[Tensor], Tensor] = _quick_gelu if tower.quick_gelu else F.gelu
    normal = _layer_norm(x, p, f"{name}.ln_1", watch)
    mixed = _attention(normal, p, f"{name}.attn", tower.heads, watch, causal=causal, pooled=pooled)
    x = (x[:, 0] if pooled else x) + mixed
    normal = _layer_norm(x, p, f"{name}.ln_2", watch)
    hidden = activate(_linear(normal, p, f"{name}.mlp.c_fc.weight", f"{name}.mlp.c_fc.bias", watch))
    return x + _linear(hidden, p, f"{name}.mlp.c_proj.weight", f"{name}.mlp.c_proj.bias", watch)


def _attention(x: Tensor, p: Parameters, name: str, heads: int, watch: Watch, *, causal: bool, pooled: bool) -> Tensor:
    batch, length, width = x.shape
    qkv = _linear(x, p, f"{name}.in_proj_weight", f"{name}.in_proj_bias", watch)
    q, k, v = qkv.view(batch, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q[:, :, :1] if pooled else q, k, v, is_causal=causal)
    mixed = mixed.transpose(1, 2).reshape(batch, width) if pooled else mixed.transpose(1, 2).reshape(x.shape)
    return _linear(mixed, p, f"{name}.out_proj.weight", f"{name}.out_proj.bias", watch)


def _linear(x: Tensor, p: Parameters, weight: str, bias: str, watch: Watch) -> Tensor:
    y = F.linear(x, p[weight], p[bias])
    watch.linear(weight, bias, x, y)
    return y


def _layer_norm(x: Tensor, p: Parameters, name: str, watch: Watch = UNWATCHED) -> Tensor:
    y = F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])
    watch.layer_norm(name, x, y)
    return y


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def _open_clip_towers() -> ModuleType:
    from tatr.clip import open_clip_towers  # imports open_clip

    return open_clip_towers


def _refuse(*, watch: bool, checkpointing: bool) -> None:
    if watch:
        raise TatrError(
            "Gram matrices are measured in standard CLIP vision transformers only, and this backbone's image "
            "encoder is of another kind; leave out the methods that need them"
        )
    if checkpointing:
        raise TatrError(
            "finetuning.checkpointing: not possible with this backbone, whose image encoder open_clip itself computes; "
            "set it to false, and finetuning.micro_batch to fewer images at once"
        )


@cache
def _tokenizer_module() -> ModuleType:
    # open_clip's tokenizer stands on its own; loading just its file spares the import of the whole package.
    package = importlib.util.find_spec("open_clip")
    assert package and package.origin
    spec = importlib.util.spec_from_file_location("_open_clip_tokenizer", Path(package.origin).parent / "tokenizer.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
