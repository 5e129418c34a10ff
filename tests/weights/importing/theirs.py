"""What others save: their classes, their names. Written by hand, so that nothing is shared with the reader."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

Weights = dict[str, np.ndarray]
DEAD = (
    *("positional_embedding", "text_projection", "logit_scale", "token_embedding.weight"),
    *("ln_final.weight", "ln_final.bias"),
)
"""What is left of the text tower when its transformer is deleted."""


def module_class(path: str) -> type[nn.Module]:
    """A class that pickles under any name."""
    module, _, name = path.rpartition(".")
    return type(name, (nn.Module,), {"__module__": module, "__qualname__": name})


class Preprocess:
    """Something that is pickled with a model and is no part of it."""

    def __init__(self) -> None:
        self.transforms = [{"size": 224}]


def transformers_names(weights: Mapping[str, np.ndarray], prefix: str = "vision_model.") -> Weights:
    """The image tower as CLIPVisionModel has it, and under `visual_projection` the projection."""
    plain = {
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
        "ln_pre.weight": "pre_layrnorm.weight",
        "ln_pre.bias": "pre_layrnorm.bias",
        "ln_post.weight": "post_layernorm.weight",
        "ln_post.bias": "post_layernorm.bias",
    }
    found = {prefix + theirs: weights[f"visual.{ours}"] for ours, theirs in plain.items()}
    found |= _blocks(weights, "visual.transformer.resblocks", f"{prefix}encoder.layers", 2)
    return found | {"visual_projection.weight": np.ascontiguousarray(weights["visual.proj"].T)}


def transformers_text_names(weights: Mapping[str, np.ndarray]) -> Weights:
    """The rest of CLIPModel."""
    found = {
        "text_model.embeddings.token_embedding.weight": weights["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": weights["positional_embedding"],
        "text_model.final_layer_norm.weight": weights["ln_final.weight"],
        "text_model.final_layer_norm.bias": weights["ln_final.bias"],
        "text_projection.weight": np.ascontiguousarray(weights["text_projection"].T),
        "logit_scale": weights["logit_scale"],
    }
    return found | _blocks(weights, "transformer.resblocks", "text_model.encoder.layers", 1)


def _blocks(weights: Mapping[str, np.ndarray], ours: str, theirs: str, count: int) -> Weights:
    found: Weights = {}
    for i in range(count):
        for kind in ("weight", "bias"):
            q, k, v = np.split(weights[f"{ours}.{i}.attn.in_proj_{kind}"], 3)
            found |= {f"{theirs}.{i}.self_attn.{x}_proj.{kind}": part for x, part in zip("qkv", (q, k, v), strict=True)}
            found[f"{theirs}.{i}.self_attn.out_proj.{kind}"] = weights[f"{ours}.{i}.attn.out_proj.{kind}"]
            found[f"{theirs}.{i}.mlp.fc1.{kind}"] = weights[f"{ours}.{i}.mlp.c_fc.{kind}"]
            found[f"{theirs}.{i}.mlp.fc2.{kind}"] = weights[f"{ours}.{i}.mlp.c_proj.{kind}"]
            found[f"{theirs}.{i}.layer_norm1.{kind}"] = weights[f"{ours}.{i}.ln_1.{kind}"]
            found[f"{theirs}.{i}.layer_norm2.{kind}"] = weights[f"{ours}.{i}.ln_2.{kind}"]
    return found


def tensors(weights: Mapping[str, np.ndarray], prefix: str = "") -> dict[str, torch.Tensor]:
    """A state dict of PyTorch's."""
    return {prefix + name: torch.tensor(tensor) for name, tensor in weights.items()}


def scripted(state: Mapping[str, np.ndarray]) -> Any:  # noqa: ANN401
    root = nn.Module()
    for name, tensor in state.items():
        *parents, own = name.split(".")
        module = root
        for parent in parents:
            if not hasattr(module, parent):
                module.add_module(parent, nn.Module())
            module = getattr(module, parent)
        module.register_parameter(own, nn.Parameter(torch.tensor(tensor)))
    root.register_buffer("input_resolution", torch.tensor(224))
    return torch.jit.script(root)


def archive(path: Path, program: bytes, storages: dict[str, bytes] | None = None) -> None:
    """A file as torch.save writes it, around any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/version", "3\n")
        for key, raw in (storages or {}).items():
            file.writestr(f"archive/data/{key}", raw)


def tensor_program(
    storage: str = "FloatStorage", numel: int = 4, offset: int = 0, shape: str = "I2\nI2\n", strides: str = "I2\nI1\n"
) -> bytes:
    """A state dict of one tensor under two names."""
    identifier = f"(S'storage'\nctorch\n{storage}\nS'0'\nS'cpu'\nI{numel}\ntQ"
    tensor = f"ctorch._utils\n_rebuild_tensor_v2\n({identifier}I{offset}\n({shape}t({strides}tI00\n(dtR"
    return f"(dS'visual.conv1.weight'\n{tensor}sS'visual.class_embedding'\n{tensor}s.".encode()
