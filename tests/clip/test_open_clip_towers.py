"""Towers that open_clip's own classes compute: families of small random models, held against those very classes."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F  # noqa: N812
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tatr.clip import open_clip_towers
from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture, OtherTower
from tatr.clip.head import zero_shot_head
from tatr.errors import TatrError
from tatr.measuring.gram import input_grams
from tatr.report.export import CONFIG, WEIGHTS, open_clip_config
from tatr.weights.encoder_file import save_tensors

VISION = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 2}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
TRUNK: dict[str, Any] = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}


def made_by_timm(name: str, pool: str, proj: str | None) -> dict[str, Any]:
    return {"image_size": 16, "timm_model_name": name, "timm_pool": pool, "timm_proj": proj}


CONFIGS: dict[str, dict[str, Any]] = {
    "layer scale": {"vision_cfg": VISION | {"ls_init_value": 0.1}},
    "QK norm": {"vision_cfg": VISION | {"qk_norm": True, "scale_attn": True}},
    "CLIPA": {
        "vision_cfg": VISION | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        "text_cfg": TEXT | {"pool_type": "last", "no_causal_mask": True},
    },
    "CoCa": {
        "vision_cfg": VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 16, "vocab_size": 49408, "width": 12, "heads": 2, "layers": 1},
        "custom_text": True,
    },
    "SigLIP": {
        "embed_dim": 16,
        "vision_cfg": made_by_timm("vit_small_for_tests", "map", "none"),
        "text_cfg": TEXT | {"width": 16, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
        "init_logit_bias": -10,
        "custom_text": True,
    },
    "EVA": {"vision_cfg": made_by_timm("eva02_small_for_tests", "token", None), "custom_text": True},
    "QuickGELU in the text tower": {"vision_cfg": VISION, "quick_gelu": True, "custom_text": True},
}


@pytest.fixture(scope="module", autouse=True)
def small_timm_models() -> None:
    """Names that timm then knows; the registry wants functions of a module."""
    module = ModuleType("small_timm_models")
    sys.modules[module.__name__] = module

    def register(name: str, build: Callable[..., nn.Module]) -> None:
        def make(pretrained: bool = False, **given: object) -> nn.Module:
            return build(**TRUNK, **{key: given[key] for key in ("num_classes", "global_pool")})

        make.__name__, make.__module__ = name, module.__name__
        timm.models.register_model(make)

    register("vit_small_for_tests", lambda **given: VisionTransformer(class_token=False, **given))
    register("eva02_small_for_tests", lambda **given: Eva(use_rot_pos_emb=True, swiglu_mlp=True, **given))
    register("vit_normed_for_tests", _WithStatistics)


class _WithStatistics(VisionTransformer):
    def __init__(self, **given: Any) -> None:  # noqa: ANN401
        super().__init__(**given)
        self.batch_norm = nn.BatchNorm1d(2)


@dataclass
class Both:
    """open_clip's model with random weights, and what we have of it."""

    model: nn.Module
    architecture: Architecture
    visual: dict[str, Tensor]
    text: dict[str, Tensor]

    @property
    def pixels(self) -> Tensor:
        return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def build(family: str) -> Both:
    config = {"embed_dim": 12, "text_cfg": TEXT} | CONFIGS[family]
    architecture = Architecture.of(config, "model.json")
    own_text = config.get("custom_text")
    kind = CoCa if "multimodal_cfg" in config else CustomTextCLIP if own_text else CLIP
    torch.manual_seed(0)
    model = kind(**{key: value for key, value in config.items() if key != "custom_text"}).eval()
    parameters = {name: nn.init.normal_(parameter, std=0.3).detach() for name, parameter in model.named_parameters()}
    visual = {name: tensor for name, tensor in parameters.items() if name.startswith("visual.")}
    return Both(model, architecture, visual, {n: tensor for n, tensor in parameters.items() if n not in visual})


@pytest.fixture(scope="module", params=list(CONFIGS))
def both(request: pytest.FixtureRequest, small_timm_models: None) -> Both:
    return build(request.param)


def assert_close(found: Tensor | np.ndarray, expected: Tensor | np.ndarray) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_layouts_are_open_clips_own_in_names_order_and_shapes(both: Both) -> None:
    for layout, tensors in ((both.architecture.layout(), both.visual), (both.architecture.text_layout(), both.text)):
        assert [(p.name, p.shape) for p in layout.parameters] == [(n, tuple(t.shape)) for n, t in tensors.items()]


@torch.no_grad()
def test_image_features_are_open_clips(both: Both) -> None:
    found = clip.image_features(both.visual, both.pixels, both.architecture)
    assert_close(found, both.model.encode_image(both.pixels, normalize=False))


@torch.no_grad()
def test_text_features_are_open_clips(both: Both) -> None:
    tokens = clip.tokens_of(["a photo of a cat.", "a diagram"], both.architecture)
    found = clip.text_features(both.text, tokens, both.architecture)
    assert_close(found, both.model.encode_text(tokens, normalize=False))


def test_gradients_per_image_are_those_of_a_loop(both: Both) -> None:
    head = torch.randn(4, both.architecture.embed_dim, generator=torch.Generator().manual_seed(2))

    def loss(parameters: dict[str, Tensor], pixels: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(clip.logits(parameters, pixels[None], head, both.architecture), label[None])

    labels = torch.tensor([0, 3, 1])
    open_clip_towers._image_tower.cache_clear()  # a job's first use of a tower may be in here
    with sdpa_kernel(SDPBackend.MATH):
        found = vmap(grad(loss), in_dims=(None, 0, 0))(both.visual, both.pixels, labels)
    names = {name: parameter for name, parameter in both.model.named_parameters() if name in both.visual}
    for i, label in enumerate(labels):
        features = F.normalize(both.model.encode_image(both.pixels[i : i + 1], normalize=False), dim=-1)
        expected = torch.autograd.grad(F.cross_entropy(features @ head.T, label[None]), list(names.values()))
        largest = max(gradient.abs().max() for gradient in expected)
        for name, gradient in zip(names, expected, strict=True):
            # Some are 0 but for rounding, so the scale is that of all.
            assert (found[name][i] - gradient).abs().max() <= 1e-5 * largest, name


@pytest.mark.parametrize("family", ["CLIPA", "SigLIP"])
def test_fine_tuning_reaches_every_parameter(family: str) -> None:
    both = build(family)
    parameters = {name: tensor.clone().requires_grad_() for name, tensor in both.visual.items()}
    clip.image_features(parameters, both.pixels, both.architecture).square().sum().backward()
    assert [name for name, tensor in parameters.items() if tensor.grad is None or not tensor.grad.any()] == []


def test_a_head_of_siglip_ignores_the_logit_bias() -> None:
    both = build("SigLIP")
    arrays = {name: tensor.numpy() for name, tensor in both.text.items()}
    names, templates = ["cat", "dog"], ["a {}.", "the {}"]
    head = zero_shot_head(arrays, both.architecture, names, templates)
    other = zero_shot_head(arrays | {"logit_bias": np.float32(3)}, both.architecture, names, templates)
    np.testing.assert_array_equal(head, other)
    tokens = clip.tokens_of(["a cat.", "the cat"], both.architecture)
    mean = F.normalize(both.model.encode_text(tokens, normalize=True).mean(dim=0), dim=0)
    assert_close(head[0], (mean * both.text["logit_scale"].exp()).detach())


@pytest.mark.parametrize("family", ["CoCa", "SigLIP", "CLIPA", "QuickGELU in the text tower"])
def test_open_clip_loads_what_is_exported(family: str, tmp_path: Path) -> None:
    both = build(family)
    config = open_clip_config({"embed_dim": 12, "text_cfg": TEXT} | CONFIGS[family])
    (tmp_path / CONFIG).write_text(json.dumps(config))
    save_tensors({name: tensor.numpy() for name, tensor in (both.visual | both.text).items()}, tmp_path / WEIGHTS)
    loaded = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    with torch.no_grad():
        found, expected = (model.encode_image(both.pixels, normalize=False) for model in (loaded, both.model))
    assert_close(found, expected)


def test_a_config_s_own_options_reach_the_tokenizer() -> None:
    architecture = Architecture.of(
        {"embed_dim": 12, "vision_cfg": VISION, "text_cfg": TEXT | {"tokenizer_kwargs": {"clean": "canonicalize"}}}, "m"
    )
    assert torch.equal(clip.tokens_of(["A cat!"], architecture), clip.tokenize(["a cat"], 16))


def test_gram_matrices_and_checkpointing_are_refused() -> None:
    both = build("CLIPA")
    with pytest.raises(TatrError, match=r"Gram matrices are measured in standard CLIP vision transformers"):
        input_grams(both.architecture, both.visual, np.zeros((2, 16, 16, 3), np.uint8), "cpu")
    with pytest.raises(TatrError, match=r"finetuning\.checkpointing: not possible with this backbone"):
        clip.image_features(both.visual, both.pixels, both.architecture, checkpointing=True)


def test_no_weights_are_made() -> None:
    architecture = Architecture.of({"embed_dim": 12, "text_cfg": TEXT} | CONFIGS["CoCa"], "model.json")
    architecture.layout(), architecture.text_layout()
    assert isinstance(architecture.vision, OtherTower)
    model = architecture.vision.model
    for tower in (open_clip_towers._image_tower(model), open_clip_towers._text_tower(model)):
        assert not tower.training
        assert all(parameter.is_meta for parameter in tower.parameters())
        assert not any(buffer.is_meta for buffer in tower.buffers())


def test_towers_with_statistics_of_batches_are_refused() -> None:
    config = {
        "embed_dim": 16,
        "text_cfg": TEXT,
        "vision_cfg": made_by_timm("vit_normed_for_tests", "token", "none"),
    }
    with pytest.raises(
        TatrError, match=r"has 'trunk\.batch_norm\.num_batches_tracked' in addition to its parameters \(3 tensors"
    ):
        Architecture.of(config, "model.json").layout()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patchsize": 8}, "can't build this model .*patchsize.*; look at its model config"),
        ({"timm_model_name": "vit_of_nobody"}, r"can't build this model .*vit_of_nobody"),
    ],
)
def test_configs_that_open_clip_can_t_build(change: dict[str, Any], message: str) -> None:
    config = json.loads(json.dumps({"embed_dim": 12, "text_cfg": TEXT, "vision_cfg": VISION | change}))
    with pytest.raises(TatrError, match=message):
        Architecture.of(config, "model.json").layout()
