"""transformers' CLIPModel with random weights, saved by that library and taken over by the backbone step."""

import importlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.model import CustomTextCLIP
from safetensors.numpy import load_file
from torch import Tensor, nn

from backbone import run
from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.clip.model_configs import model_config
from tatr.errors import TatrError
from tatr.weights.fingerprint import fingerprint
from tatr.workflow.job import Job, Settings

if os.environ.get("TATR_TEST_PARITY") != "1":
    pytest.importorskip("transformers", reason="transformers is not installed; `make test-parity` installs it")

TINY: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 16, "layers": 3, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 24, "heads": 3, "layers": 2},
}
NAMES = {"quick_gelu": "ViT-B-32-quickgelu", "gelu": "ViT-B-32"}
TEXTS = ["a photo of a cat.", "a diagram", "Ünïcode & punctuation!?", "a " * 100]
Library = ModuleType


@pytest.fixture(scope="module")
def transformers() -> Library:
    return importlib.import_module("transformers")


def config_of(model: Mapping[str, Any], activation: str, transformers: Library) -> Any:  # noqa: ANN401
    """transformers' config of the same shape; an open_clip config counts in heads' widths, this one in heads."""
    vision, text = model["vision_cfg"], model["text_cfg"]
    shared = {"hidden_act": activation, "projection_dim": model["embed_dim"]}
    return transformers.CLIPConfig(
        projection_dim=model["embed_dim"],
        vision_config=shared
        | {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "hidden_size": vision["width"],
            "intermediate_size": 4 * vision["width"],
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
        },
        text_config=shared
        | {
            "max_position_embeddings": text["context_length"],
            "vocab_size": text["vocab_size"],
            "hidden_size": text["width"],
            "intermediate_size": 4 * text["width"],
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
        },
    )


def random_model(model: Mapping[str, Any], activation: str, transformers: Library) -> nn.Module:
    torch.manual_seed(0)
    reference: nn.Module = transformers.CLIPModel(config_of(model, activation, transformers)).eval()
    for name, parameter in reference.named_parameters():
        if parameter.ndim == 1:  # biases are 0 and gains 1 in a new model: equal ones would hide a swap
            nn.init.normal_(parameter, float(name.endswith("norm.weight")), 0.1)
    return reference


@torch.no_grad()
def features_of(reference: Any, pixels: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    images = reference.visual_projection(reference.vision_model(pixel_values=pixels).pooler_output)
    return images, reference.text_projection(reference.text_model(input_ids=tokens).pooler_output)


def take_over(path: Path, name: str, model: Mapping[str, Any], folder: Path) -> Path:
    settings = {"name": name, "model": model, "fingerprint": fingerprint(path, "backbone.pretrained")}
    made = Path(tempfile.mkdtemp(dir=folder))
    run(Job(Settings(settings), {"download": []}, path, made, folder / "saved", "key"))
    return made


@torch.no_grad()
def our_features(made: Path, pixels: Tensor) -> tuple[Tensor, Tensor]:
    architecture = Architecture.of(json.loads((made / "model.json").read_text()), "model.json")
    visual, text = (clip.to_tensors(load_file(made / f"{part}.safetensors")) for part in ("encoder", "text"))
    tokens = clip.tokens_of(TEXTS, architecture)
    return clip.image_features(visual, pixels, architecture), clip.text_features(text, tokens, architecture)


def assert_same_features(model: Mapping[str, Any], activation: str, transformers: Library, folder: Path) -> None:
    config = {**model, "quick_gelu": activation == "quick_gelu"}
    reference = random_model(config, activation, transformers)
    reference.save_pretrained(folder / "theirs")
    size = config["vision_cfg"]["image_size"]
    pixels = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    tokens = clip.tokenize(TEXTS, config["text_cfg"]["context_length"])
    made = take_over(folder / "theirs", NAMES[activation], config, folder)
    for found, expected in zip(our_features(made, pixels), features_of(reference, pixels, tokens), strict=True):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_image_and_text_features_are_theirs(transformers: Library, tmp_path: Path, activation: str) -> None:
    assert_same_features(TINY, activation, transformers, tmp_path)


def test_features_at_the_size_of_vit_b_32_are_theirs(transformers: Library, tmp_path: Path) -> None:
    assert_same_features(model_config("ViT-B-32-quickgelu"), "quick_gelu", transformers, tmp_path)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_other_activation_is_refused(transformers: Library, tmp_path: Path, activation: str) -> None:
    random_model(TINY, activation, transformers).save_pretrained(tmp_path / "theirs")
    quick = activation == "quick_gelu"
    other = NAMES["gelu" if quick else "quick_gelu"]
    with pytest.raises(
        TatrError, match=rf"trained with {'QuickGELU' if quick else 'GELU'} .*; use {NAMES[activation]}$"
    ):
        take_over(tmp_path / "theirs", other, {**TINY, "quick_gelu": not quick}, tmp_path)


def test_their_preprocessing_is_written_out(transformers: Library, tmp_path: Path) -> None:
    random_model(TINY, "gelu", transformers).save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.4, 0.3], "image_std": [1, 1, 1]}'
    )
    made = take_over(tmp_path / "theirs", "ViT-B-32", {**TINY, "quick_gelu": False}, tmp_path)
    assert json.loads((made / "model.json").read_text())["preprocess_cfg"]["mean"] == [0.5, 0.4, 0.3]


def test_towers_of_transformers_work_as_text_towers(transformers: Library, tmp_path: Path) -> None:
    """What open_clip builds with the library: only its config is needed, from a folder here."""
    transformers.RobertaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    ).save_pretrained(tmp_path)
    config = TINY | {"text_cfg": {"hf_model_name": str(tmp_path), "hf_pooler_type": "mean_pooler", "vocab_size": 50}}
    architecture = Architecture.of(config, "model.json")
    rng = np.random.default_rng(0)
    arrays = {p.name: rng.normal(0, 0.1, p.shape) for p in architecture.text_layout().parameters}
    assert architecture.layout() == Architecture.of(TINY, "model.json").layout()
    text = config["text_cfg"] | {"hf_model_pretrained": False}
    reference = CustomTextCLIP(TINY["embed_dim"], TINY["vision_cfg"], text).eval()
    tensors = clip.to_tensors(arrays)
    reference.load_state_dict(tensors, strict=False)
    tokens = torch.randint(3, 50, (2, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = clip.text_features(tensors, tokens, architecture), reference.encode_text(tokens)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    with pytest.raises(TatrError, match=r"the tokenizer .* can't be loaded .*; fetch it where the network is"):
        clip.tokens_of(
            ["a cat"], Architecture.of(config | {"text_cfg": text | {"hf_tokenizer_name": "none/such"}}, "m")
        )
