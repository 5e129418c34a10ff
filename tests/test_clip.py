"""CLIP as pure functions, held against open_clip's own classes: names, shapes, features, tokens, heads, pixels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from open_clip.transform import image_transform
from PIL import Image

from tatr import clip
from tatr.architecture import Architecture
from tatr.errors import TatrError
from tatr.heads import zero_shot_head
from tatr.sources import folder

Model = tuple[CLIP, Architecture]
TEXTS = ["a photo of a cat.", "a diagram", "Ünïcode & punctuation!?", "a " * 100]


def build(config: dict[str, Any]) -> Model:
    torch.manual_seed(0)
    return CLIP(**config).eval(), Architecture.of(config, "model.json")


@pytest.fixture(scope="module", params=["tiny", "tiny, GELU", "ViT-B-32-quickgelu"])
def both(request: pytest.FixtureRequest, model: dict[str, Any]) -> Model:
    """open_clip's model with random weights, and our architecture of the same config."""
    if request.param == "ViT-B-32-quickgelu":
        return build(open_clip.get_model_config("ViT-B-32-quickgelu"))
    return build(model | {"quick_gelu": request.param == "tiny"})


@pytest.fixture(scope="module")
def tiny(model: dict[str, Any]) -> Model:
    return build(model)


def parameters(model: CLIP) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}


def pixels(architecture: Architecture) -> torch.Tensor:
    size = architecture.image_size
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


def assert_close(found: torch.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_layout_is_open_clips_own_in_names_order_and_shapes(both: Model) -> None:
    reference, architecture = both
    expected = [(f"visual.{name}", tuple(p.shape)) for name, p in reference.visual.named_parameters()]
    assert [(p.name, p.shape) for p in architecture.layout().parameters] == expected
    rest = [(name, tuple(p.shape)) for name, p in reference.named_parameters() if not name.startswith("visual.")]
    assert [(p.name, p.shape) for p in architecture.text_layout().parameters] == rest


def test_vit_b_32_has_as_many_merged_parameters_as_documented() -> None:
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    assert Architecture.of(config, "model.json").layout().size == 87_849_216


@torch.no_grad()
def test_image_features(both: Model) -> None:
    reference, architecture = both
    images = pixels(architecture)
    found = clip.image_features(clip.to_tensors(parameters(reference)), images, architecture)
    assert_close(found, reference.encode_image(images))


@torch.no_grad()
def test_text_features(both: Model) -> None:
    reference, architecture = both
    tokens = clip.tokenize(TEXTS, architecture.context_length)
    found = clip.text_features(clip.to_tensors(parameters(reference)), tokens, architecture)
    assert_close(found, reference.encode_text(tokens))


@torch.no_grad()
def test_the_two_activations_differ(tiny: Model) -> None:
    reference, architecture = tiny
    images = pixels(architecture)
    other = replace(architecture, vision=replace(architecture.vision, quick_gelu=False))
    found = clip.image_features(clip.to_tensors(parameters(reference)), images, other)
    expected = reference.encode_image(images)
    assert (found - expected).abs().max() > 1e-3 * expected.abs().max()


@pytest.mark.parametrize("length", [16, 77])
def test_tokens_are_open_clips(length: int) -> None:
    expected = open_clip.SimpleTokenizer(context_length=length)(TEXTS)
    assert torch.equal(clip.tokenize(TEXTS, length), expected)


def test_a_zero_shot_head_is_open_clips_times_the_logit_scale(tiny: Model) -> None:
    reference, architecture = tiny
    classnames, templates = ["cat", "red dog", "aeroplane"], ["a photo of a {}.", "a drawing of the {}", "{}"]
    found = zero_shot_head(parameters(reference), architecture, classnames, templates)
    expected = open_clip.build_zero_shot_classifier(
        reference,
        open_clip.SimpleTokenizer(context_length=architecture.context_length),
        classnames,
        [lambda name, template=template: template.format(name) for template in templates],  # type: ignore[misc]
    )
    assert_close(found, expected.T * reference.logit_scale.detach().exp())


@torch.no_grad()
def test_logits_are_open_clips(tiny: Model) -> None:
    reference, architecture = tiny
    images, tokens = pixels(architecture), clip.tokenize(TEXTS, architecture.context_length)
    image, text, scale = reference(images, tokens)
    found = clip.logits(clip.to_tensors(parameters(reference)), images, text * scale, architecture)
    assert_close(found, scale * image @ text.T)


@pytest.mark.parametrize("shape", [(8, 8), (50, 37), (37, 50), (9, 8), (31, 97)])
def test_decoded_images_are_those_of_open_clips_evaluation_transform(
    architecture: Architecture, tmp_path: Path, shape: tuple[int, int]
) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "image.png")
    transform = image_transform(architecture.image_size, is_train=False, mean=architecture.mean, std=architecture.std)
    decoded = folder._open(tmp_path / "image.png", architecture.image_size).copy()
    assert decoded.shape == (8, 8, 3)
    found = clip.normalise(decoded[None], architecture)[0]
    torch.testing.assert_close(found, transform(Image.open(tmp_path / "image.png")), rtol=0, atol=1e-6)


def vision(**changes: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda config: config | {"vision_cfg": config["vision_cfg"] | changes}


def text(**changes: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda config: config | {"text_cfg": config["text_cfg"] | changes}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (vision(timm_model_name="convnext_base"), "timm_model_name"),
        (vision(ls_init_value=1e-5), "ls_init_value"),
        (vision(attentional_pool=True), "attentional_pool"),
        (vision(pool_type="avg", no_ln_pre=True), "no_ln_pre, pool_type"),
        (text(hf_model_name="roberta-base"), "hf_model_name"),
        (text(embed_cls=True), "embed_cls"),
    ],
)
def test_variants_that_are_not_computed_are_refused(
    model: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]], named: str
) -> None:
    with pytest.raises(TatrError, match=rf"model\.json: {named} ask for a variant of CLIP that is not supported"):
        Architecture.of(change(model), "model.json")


@pytest.mark.parametrize("section", ["vision_cfg", "text_cfg"])
def test_variants_that_are_switched_off_are_accepted(model: dict[str, Any], section: str) -> None:
    config = model | {section: model[section] | {"ls_init_value": None, "attentional_pool": False}}
    assert Architecture.of(config, "model.json") == Architecture.of(model, "model.json")


@pytest.mark.parametrize("name", ["convnext_base", "RN50", "roberta-ViT-B-32", "coca_ViT-B-32", "EVA02-B-16"])
def test_other_architectures_of_open_clip_are_refused(name: str) -> None:
    with pytest.raises(TatrError, match=r"supported"):
        Architecture.of(open_clip.get_model_config(name), name)


@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-quickgelu"])
def test_the_papers_models_are_accepted(name: str) -> None:
    architecture = Architecture.of(open_clip.get_model_config(name), name)
    assert architecture.vision.quick_gelu
    expected = {"B-32": 87_849_216, "B-16": 86_192_640, "L-14": 303_966_208}
    assert architecture.layout().size == expected[name[4:8]]


@pytest.mark.parametrize(("section", "key"), [(None, "embed_dim"), (None, "text_cfg"), ("vision_cfg", "width")])
def test_an_incomplete_config_names_the_missing_key(model: dict[str, Any], section: str | None, key: str) -> None:
    config = model | ({section: dict(model[section])} if section else {})
    del (config[section] if section else config)[key]
    with pytest.raises(TatrError, match=rf"model\.json: the model config lacks '{key}'"):
        Architecture.of(config, "model.json")
