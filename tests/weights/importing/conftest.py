"""A tiny CLIP's weights, and all the forms in which others save them."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from theirs import (
    DEAD,
    Preprocess,
    Weights,
    module_class,
    scripted,
    tensors,
    transformers_names,
    transformers_text_names,
)
from torch import nn

from tatr.clip.architecture import Architecture


@pytest.fixture(scope="session")
def weights(architecture: Architecture) -> Weights:
    """All tensors of a tiny CLIP; their values are exact in half precision and in bfloat16."""
    rng = np.random.default_rng(0)
    shapes = [*architecture.layout().parameters, *architecture.text_layout().parameters]
    return {p.name: np.asarray(rng.integers(-8, 9, p.shape) / 16, np.float32) for p in shapes}


@pytest.fixture(scope="session")
def visual(weights: Weights) -> Weights:
    """Its image tower."""
    return {name: tensor for name, tensor in weights.items() if name.startswith("visual.")}


@pytest.fixture
def pickled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., nn.Module]:
    """A module tree that has the given state, of classes that nobody else can import."""
    classes: dict[str, type[nn.Module]] = {}
    for home, names in {
        "src.modeling": ["ImageEncoder"],
        "open_clip.model": ["CLIP", "VisualTransformer", "ResidualAttentionBlock", "QuickGELU"],
    }.items():
        fake = ModuleType(home)
        monkeypatch.setitem(sys.modules, home, fake)
        monkeypatch.setitem(sys.modules, home.split(".")[0], ModuleType(home.split(".")[0]))
        for name in names:
            classes[name] = module_class(f"{home}.{name}")
            setattr(fake, name, classes[name])

    def build(state: Mapping[str, np.ndarray], activation: type[nn.Module] | None = None) -> nn.Module:
        encoder, clip = classes["ImageEncoder"](), classes["CLIP"]()
        encoder.model, encoder.train_preprocess, encoder.cache_dir = clip, Preprocess(), "somewhere"
        clip.visual = classes["VisualTransformer"]()
        for name, tensor in state.items():
            *parents, own = name.split(".")
            module = clip
            for parent in parents:
                if not hasattr(module, parent):
                    module.add_module(parent, classes["ResidualAttentionBlock"]())
                module = getattr(module, parent)
            module.register_parameter(own, nn.Parameter(torch.tensor(tensor)))
        for name, module in list(clip.named_modules()):
            if name.endswith(".mlp"):
                module.gelu = (activation or classes["QuickGELU"])()
        clip.register_buffer("attn_mask", torch.full((3, 3), -torch.inf))
        return encoder

    return build


@pytest.fixture
def save_all(
    tmp_path: Path, visual: Weights, weights: Weights, pickled: Callable[..., nn.Module]
) -> Callable[[Weights], dict[str, Path]]:
    """Save one image tower in every format; each beside the remnants or the text tower that it comes with."""
    remnants = {name: weights[name] for name in DEAD}

    def save(visual: Weights) -> dict[str, Path]:
        whole, paths = weights | visual, {}

        def path(name: str) -> Path:
            paths[name.partition("/")[0]] = found = tmp_path / "theirs" / name
            found.parent.mkdir(parents=True, exist_ok=True)
            return found

        torch.save(pickled(remnants | visual), path("module.pt"))
        torch.save(tensors(remnants | visual, "model."), path("state_dict.pt"))
        torch.save({"epoch": 3, "state_dict": tensors(whole, "module.")}, path("training.pt"))
        torch.save(tensors(whole), path("legacy.bin"), _use_new_zipfile_serialization=False)
        save_file(transformers_names(whole), path("transformers.safetensors"))
        save_file(transformers_names(whole, ""), path("transformers5.safetensors"))
        save_file(transformers_names(whole) | transformers_text_names(whole), path("clip_model/model.safetensors"))
        paths["clip_model"] = tmp_path / "theirs" / "clip_model"
        torch.save(tensors(transformers_names(whole)), path("pytorch_model.bin"))
        save_file(whole, path("open_clip.safetensors"))
        save_file({name: tensor.astype(np.float16) for name, tensor in whole.items()}, path("half.safetensors"))
        bf16 = {name: tensor.to(torch.bfloat16) for name, tensor in tensors(whole).items()}
        torch.save(bf16, path("bfloat16.pt"))
        scripted(whole).half().save(str(path("scripted.pt")))
        return paths

    return save
