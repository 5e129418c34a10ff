"""Small random CLIP models on disk, as open_clip saves them, and models that were fine-tuned from them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from tatr.clip.architecture import Architecture
from tatr.weights.encoder_file import load_tensors, save_tensors

VISION = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16}
WEIGHTS = "open_clip_model.safetensors"


def write_backbone(folder: Path, vision: dict[str, Any] = VISION, seed: int = 0) -> Path:
    """A random CLIP: open_clip_config.json and safetensors."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    model = {"embed_dim": 32, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    architecture, rng = Architecture.of(model, "small"), np.random.default_rng(seed)
    shapes = [*architecture.layout().parameters, *architecture.text_layout().parameters]
    tensors = {p.name: rng.normal(0, 0.05, p.shape).astype(np.float32) for p in shapes}
    tensors |= {name: 1 + tensor for name, tensor in tensors.items() if "ln_" in name and name.endswith("weight")}
    tensors["logit_scale"] = np.array(3, np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    save_tensors(tensors, folder / WEIGHTS)
    return folder


def write_checkpoint(path: Path, backbone: Path, seed: int) -> None:
    """A model fine-tuned from a backbone, as open_clip saves one."""
    rng = np.random.default_rng(seed)
    tensors = load_tensors(backbone / WEIGHTS)
    changed = {name: t + rng.normal(0, 1e-3, t.shape) for name, t in tensors.items() if name.startswith("visual.")}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(tensors | changed, path)
