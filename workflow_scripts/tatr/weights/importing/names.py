"""The names that CLIP's tensors have elsewhere, and those of open_clip, which this project uses."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tatr.errors import TatrError
from tatr.weights.adapters import REMEDY, adapter_tensor

KNOWN = (
    "known are open_clip's and OpenAI's names (visual.conv1.weight, …) and those of transformers' CLIPVisionModel and "
    "CLIPModel (vision_model.embeddings.patch_embedding.weight, …), behind any prefix"
)


@dataclass(frozen=True)
class TensorParts:
    """Which tensors of a file make one of open_clip's: one, several concatenated, or one transposed."""

    names: tuple[str, ...]
    transposed: bool = False


@dataclass(frozen=True)
class NameMap:
    """Which of a file's tensors become which of open_clip's."""

    family: str
    """"open_clip" or "transformers"."""
    root: str
    """What stands before the names of its image tower."""
    parts: dict[str, TensorParts]


_COPIES = {
    r"ema|averag|swa": "seems to be a moving average",
    r"hyper_?param|hparams|config|args": "lies in a trainer's settings",
    r"teacher|momentum": "seems to be a teacher",
    r"zero_?shot|pretrained|initial": "seems to be from before fine-tuning",
}
"""What else a file may hold than the model itself, by words in the names."""


def kind_of_copy(root: str) -> str:
    """What the image encoder below a name probably is, for messages."""
    return next((kind for words, kind in _COPIES.items() if re.search(words, root.lower())), "")


def map_names(names: Collection[str], where: str) -> list[NameMap]:
    """Recognise CLIP models by their names; most files hold one.

    A model is found by its patch embedding and class embedding, with any prefix (`model.`, `module.`,
    `state_dict.`, `image_encoder.model.`). Entries under the image tower that are not known keep their names, so that
    the check against an architecture refuses them: passed over, an adapter would be lost without a word.

    Raises:
        TatrError: not a CLIP model, or two of its tensors would be one.
    """
    given = set(names)
    roots = {("open_clip", root) for root in _roots(given, "conv1.weight", "class_embedding")}
    if not roots:  # other towers than the standard ones
        roots |= {("open_clip", prefix[0]) for name in given if (prefix := re.match(r"(.*?\.)?visual\.(?=.)", name))}
    patch, token = "embeddings.patch_embedding.weight", "embeddings.class_embedding"
    roots |= {("transformers", root) for root in _roots(given, patch, token)}
    if not roots and (adapter := adapter_tensor(sorted(given))):
        raise TatrError(f"{where}: holds an adapter (LoRA: '{adapter}'), not a whole model; {REMEDY}")
    if not roots:
        first = ", ".join(map(repr, sorted(given)[:5])) or "no tensor at all"
        raise TatrError(f"{where}: no CLIP image encoder in it; found {first}; {KNOWN}")
    by = {"open_clip": _open_clip, "transformers": _transformers}
    ordered = sorted((root, family) for family, root in roots)
    return [NameMap(family, root, _sorted(by[family](given, root), where)) for root, family in ordered]


def _sorted(parts: Iterator[tuple[str, TensorParts]], where: str) -> dict[str, TensorParts]:
    """By open_clip's names, of which each is made once."""
    found: dict[str, TensorParts] = {}
    for name, made_of in sorted(parts, key=lambda part: (part[0], part[1].names)):
        if (other := found.setdefault(name, made_of)) != made_of:
            both = f"'{other.names[0]}' and '{made_of.names[0]}'"
            raise TatrError(f"{where}: {both} would both be '{name}'; save the model without one of them")
    return found


def _roots(names: set[str], first: str, second: str) -> set[str]:
    """What stands before both of two names."""
    roots = (name.removesuffix(first) for name in names if name.endswith(first))
    return {root for root in roots if (not root or root.endswith(".")) and root + second in names}


def _open_clip(names: set[str], root: str) -> Iterator[tuple[str, TensorParts]]:
    weights = {name for name in names if not name.endswith("attn_mask")}
    for name in weights:
        if name.startswith(root):
            yield "visual." + name.removeprefix(root), TensorParts((name,))
    if root != "visual." and not root.endswith(".visual."):
        return
    base = root.removesuffix("visual.")
    # Image encoders are often saved with what was left of the text tower when its transformer was deleted.
    if any(name.startswith((f"{base}transformer.", f"{base}text.")) for name in weights):
        for name in weights:
            if name.startswith(base) and not name.startswith(root):
                yield name.removeprefix(base), TensorParts((name,))


_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_VISION = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    **{f"pre_layrnorm.{part}": f"ln_pre.{part}" for part in ("weight", "bias")},  # sic
    **{f"post_layernorm.{part}": f"ln_post.{part}" for part in ("weight", "bias")},
}
_TEXT_MODEL = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    **{f"final_layer_norm.{part}": f"ln_final.{part}" for part in ("weight", "bias")},
}


def _transformers(names: set[str], root: str) -> Iterator[tuple[str, TensorParts]]:
    # CLIPVisionModel is saved without `vision_model.` since transformers 5.
    base = root.removesuffix("vision_model.")
    if (projection := f"{base}visual_projection.weight") in names:
        yield "visual.proj", TensorParts((projection,), transposed=True)
    vision = {name.removeprefix(root) for name in names if name.startswith(root) and name != projection}
    yield from _tower(vision, root, "visual.", _VISION)
    text = f"{base}text_model."
    if f"{text}embeddings.token_embedding.weight" in names:
        yield from _tower({n.removeprefix(text) for n in names if n.startswith(text)}, text, "", _TEXT_MODEL)
        if (projection := f"{base}text_projection.weight") in names:
            yield "text_projection", TensorParts((projection,), transposed=True)
        if (scale := f"{base}logit_scale") in names:
            yield "logit_scale", TensorParts((scale,))


def _tower(names: set[str], root: str, to: str, known: dict[str, str]) -> Iterator[tuple[str, TensorParts]]:
    """One tower: `names` are its names without `root`; open_clip's begin with `to`."""
    for name in names:
        layer, number, rest = _layer(name)
        stem, _, kind = rest.rpartition(".")
        if name in known:
            yield to + known[name], TensorParts((root + name,))
        elif layer and stem in _BLOCK:
            yield f"{to}transformer.resblocks.{number}.{_BLOCK[stem]}.{kind}", TensorParts((root + name,))
        elif layer and stem in _QKV and kind in ("weight", "bias") and names >= (parts := _qkv(layer, kind)).keys():
            if stem == _QKV[0]:
                joined = f"{to}transformer.resblocks.{number}.attn.in_proj_{kind}"
                yield joined, TensorParts(tuple(root + part for part in parts))
        elif name != "embeddings.position_ids":
            yield to + name, TensorParts((root + name,))


def _qkv(layer: str, kind: str) -> dict[str, None]:
    """The tensors of one layer that open_clip has as one, in its order."""
    return dict.fromkeys(f"{layer}{stem}.{kind}" for stem in _QKV)


def _layer(name: str) -> tuple[str, str, str]:
    match = re.match(r"(encoder\.layers\.(\d+)\.)(.+)", name)
    return (match[1], match[2], match[3]) if match else ("", "", "")
