"""The names that CLIP's tensors have elsewhere, and those of open_clip, which are ours."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tatr.errors import TatrError

KNOWN = (
    "known are open_clip's and OpenAI's names (visual.conv1.weight, …) and those of transformers' CLIPVisionModel and "
    "CLIPModel (vision_model.embeddings.patch_embedding.weight, …), behind any prefix"
)


@dataclass(frozen=True)
class Source:
    """What a tensor of ours is made of: one tensor, or several put behind one another, or one transposed."""

    names: tuple[str, ...]
    transposed: bool = False


@dataclass(frozen=True)
class Plan:
    """Which of a file's tensors become which of ours."""

    family: str
    """"open_clip" or "transformers"."""
    sources: dict[str, Source]
    dropped: list[str]
    """Names in the file that have no place in CLIP."""


def plan(names: Collection[str], source: str) -> Plan:
    """Recognise a CLIP model by its names.

    A model is found by its patch embedding and class embedding, whatever stands before them (`model.`, `module.`,
    `state_dict.`, `image_encoder.model.`). Entries under the image tower that are not known keep their names, so that
    whoever checks them against an architecture refuses them: passed over, an adapter would be lost without a word.

    Raises:
        TatrError: no CLIP model, or several.
    """
    there = set(names)
    roots = {("open_clip", root) for root in _beside(there, "conv1.weight", "class_embedding")}
    if not roots:  # other towers than the standard ones
        roots |= {("open_clip", found[0]) for name in there if (found := re.match(r"(.*?\.)?visual\.(?=.)", name))}
    patch, token = "embeddings.patch_embedding.weight", "embeddings.class_embedding"
    roots |= {("transformers", root) for root in _beside(there, patch, token)}
    if not roots:
        first = ", ".join(map(repr, sorted(there)[:5])) or "no tensor at all"
        raise TatrError(f"{source}: no CLIP image encoder in it; found {first}; {KNOWN}")
    if len(roots) > 1:
        found = ", ".join(repr(root) for _, root in sorted(roots))
        raise TatrError(f"{source}: holds {len(roots)} image encoders ({found}); save the one that is meant on its own")
    ((family, root),) = roots
    sources = dict(sorted(_open_clip(there, root) if family == "open_clip" else _transformers(there, root)))
    used = {name for part in sources.values() for name in part.names}
    return Plan(family, sources, sorted(there - used))


def _beside(names: set[str], first: str, second: str) -> set[str]:
    """What stands before both of two names."""
    roots = (name.removesuffix(first) for name in names if name.endswith(first))
    return {root for root in roots if (not root or root.endswith(".")) and root + second in names}


def _open_clip(names: set[str], root: str) -> Iterator[tuple[str, Source]]:
    own = {name for name in names if not name.endswith("attn_mask")}
    for name in own:
        if name.startswith(root):
            yield "visual." + name.removeprefix(root), Source((name,))
    if root != "visual." and not root.endswith(".visual."):
        return
    base = root.removesuffix("visual.")
    # Image encoders are often saved with what was left of the text tower when its transformer was deleted.
    if any(name.startswith((f"{base}transformer.", f"{base}text.")) for name in own):
        for name in own:
            if name.startswith(base) and not name.startswith(root):
                yield name.removeprefix(base), Source((name,))


_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
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


def _transformers(names: set[str], root: str) -> Iterator[tuple[str, Source]]:
    # CLIPVisionModel is saved without `vision_model.` since transformers 5.
    base = root.removesuffix("vision_model.")
    if (projection := f"{base}visual_projection.weight") in names:
        yield "visual.proj", Source((projection,), transposed=True)
    own = {name.removeprefix(root) for name in names if name.startswith(root) and name != projection}
    yield from _tower(own, root, "visual.", _VISION)
    text = f"{base}text_model."
    if f"{text}embeddings.token_embedding.weight" in names:
        yield from _tower({n.removeprefix(text) for n in names if n.startswith(text)}, text, "", _TEXT_MODEL)
        if (projection := f"{base}text_projection.weight") in names:
            yield "text_projection", Source((projection,), transposed=True)
        if (scale := f"{base}logit_scale") in names:
            yield "logit_scale", Source((scale,))


def _tower(own: set[str], root: str, to: str, known: dict[str, str]) -> Iterator[tuple[str, Source]]:
    """One tower: `own` are its names without `root`; ours begin with `to`."""
    for name in own:
        layer, number, rest = _layer(name)
        stem, _, kind = rest.rpartition(".")
        if name in known:
            yield to + known[name], Source((root + name,))
        elif layer and stem in _BLOCK:
            yield f"{to}transformer.resblocks.{number}.{_BLOCK[stem]}.{kind}", Source((root + name,))
        elif layer and stem in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
            parts = [f"{layer}self_attn.{letter}_proj.{kind}" for letter in "qkv"]
            if stem == "self_attn.q_proj" and own.issuperset(parts):
                joined = f"{to}transformer.resblocks.{number}.attn.in_proj_{kind}"
                yield joined, Source(tuple(root + part for part in parts))
        elif name != "embeddings.position_ids":
            yield to + name, Source((root + name,))


def _layer(name: str) -> tuple[str, str, str]:
    found = re.match(r"(encoder\.layers\.(\d+)\.)(.+)", name)
    return (found[1], found[2], found[3]) if found else ("", "", "")
