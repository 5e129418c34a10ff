"""CLIP as pure functions, held against open_clip's own classes: names, shapes, features, tokens, heads, pixels."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from open_clip.transform import image_transform
from open_clip.transformer import QuickGELU
from PIL import Image

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture, Tower, VisionTower
from tatr.clip.head import zero_shot_head
from tatr.data.decoding import square
from tatr.errors import TatrError
from tatr.workflow.code_digest import SCRIPTS

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


def test_the_last_block_leaves_out_only_what_nothing_depends_on(both: Model) -> None:
    class Shapes(clip.Watch):
        def __init__(self, *, all_tokens: bool) -> None:
            self.all_tokens, self.inputs = all_tokens, dict[str, tuple[int, ...]]()

        def linear(self, weight: str, bias: str | None, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
            self.inputs[weight] = tuple(inputs.shape)

    reference, architecture = both
    last = f"visual.transformer.resblocks.{architecture.vision.layers - 1}"  # type: ignore[union-attr]
    images, outcome = pixels(architecture), []
    for watch in (Shapes(all_tokens=True), Shapes(all_tokens=False)):
        leaves = {name: p.requires_grad_() for name, p in clip.to_tensors(parameters(reference)).items()}
        features = clip.image_features(leaves, images, architecture, watch)
        (features * torch.arange(features.shape[-1])).sum().backward()
        outcome.append((watch.inputs, features.detach(), {n: p.grad for n, p in leaves.items() if p.grad is not None}))
    (every, full, expected), (pooled, features, gradients) = outcome
    assert_close(features, full)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (gradients[name] - gradient).norm() <= 1e-4 * gradient.norm(), name
    cut = [f"{last}.attn.out_proj.weight", f"{last}.mlp.c_fc.weight", f"{last}.mlp.c_proj.weight"]
    assert [name for name, shape in every.items() if pooled[name] != shape] == cut
    assert all(pooled[name] == (every[name][0], every[name][2]) for name in cut)


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


def test_standard_towers_are_computed_without_open_clip(model: dict[str, Any]) -> None:
    code = f"""import sys; sys.path.insert(0, {str(SCRIPTS)!r})
import numpy, torch
from tatr.clip import towers as clip
from tatr.clip import head as heads
from tatr.clip.architecture import Architecture
architecture = Architecture.of({model!r}, "model.json")
visual, text = (
    {{p.name: numpy.ones(p.shape, numpy.float32) for p in layout.parameters}}
    for layout in (architecture.layout(), architecture.text_layout())
)
heads.zero_shot_head(text, architecture, ["cat", "dog"], ["a {{}}."])
clip.image_features(clip.to_tensors(visual), torch.ones(1, 3, 8, 8), architecture)
print(*sys.modules)"""
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"open_clip", "timm", "torchvision", "transformers"} & set(loaded)


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


@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("shape", [(8, 8), (50, 37), (37, 50), (9, 8), (31, 97)])
def test_decoded_images_are_those_of_open_clips_evaluation_transform(
    architecture: Architecture, shape: tuple[int, int], resize: str
) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8))
    transform = image_transform(
        architecture.image_size, is_train=False, mean=architecture.mean, std=architecture.std, resize_mode=resize
    )
    decoded = square(picture, architecture.image_size, resize)
    assert decoded.shape == (8, 8, 3)
    found = clip.normalise(decoded[None].copy(), architecture)[0]
    torch.testing.assert_close(found, transform(picture), rtol=0, atol=1e-6)


@pytest.mark.parametrize("section", ["vision_cfg", "text_cfg"])
def test_variants_that_are_switched_off_change_nothing(model: dict[str, Any], section: str) -> None:
    config = model | {section: model[section] | {"ls_init_value": None, "attentional_pool": False}}
    assert Architecture.of(config, "model.json") == Architecture.of(model, "model.json")


@pytest.mark.parametrize(
    "name", ["ViT-B-32", "ViT-B-16-plus-240", "ViT-L-14-336-quickgelu", "ViT-H-14", "ViT-g-14", "ViT-bigG-14"]
)
def test_standard_models_of_all_sizes_are_computed_here(name: str) -> None:
    config = open_clip.get_model_config(name)
    architecture = Architecture.of(config, name)
    assert isinstance(architecture.vision, VisionTower)
    assert isinstance(architecture.text, Tower)
    with torch.device("meta"):
        reference = CLIP(**config)
    for tower, theirs in (
        (architecture.vision, reference.visual.transformer),
        (architecture.text, reference.transformer),
    ):
        block = theirs.resblocks[0]
        assert block.attn.num_heads == tower.heads
        assert isinstance(block.mlp.gelu, QuickGELU if tower.quick_gelu else torch.nn.GELU)
    rest = {name: tuple(p.shape) for name, p in reference.named_parameters() if not name.startswith("visual.")}
    ours = [(f"visual.{name}", tuple(p.shape)) for name, p in reference.visual.named_parameters()]
    assert [(p.name, p.shape) for p in architecture.layout().parameters] == ours
    assert {p.name: p.shape for p in architecture.text_layout().parameters} == rest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("RN50", "RN50: a ResNet is not supported"),
        ("convnext_base", "the image encoder convnext_base is not a vision transformer"),
        ("swin_base_patch4_window7_224", "the image encoder swin_base_patch4_window7_224 is not a vision transformer"),
        ("MobileCLIP-S1", "the image encoder fastvit_mci1 is not a vision transformer"),
    ],
)
def test_models_without_a_vision_transformer_are_refused(name: str, message: str) -> None:
    with pytest.raises(TatrError, match=message):
        Architecture.of(open_clip.get_model_config(name), name)


def test_patches_that_open_clip_drops_in_training_change_nothing(model: dict[str, Any]) -> None:
    config = model | {"vision_cfg": model["vision_cfg"] | {"patch_dropout": 0.5}}
    assert Architecture.of(config, "model.json") == Architecture.of(model, "model.json")


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


@pytest.mark.parametrize("other", ["CAT", "cat ", "&#99;at"])
def test_classes_that_are_one_to_the_text_encoder_are_refused(tiny: Model, other: str) -> None:
    reference, architecture = tiny
    with pytest.raises(TatrError, match=r"^tasks\.pets\.classnames: 'cat' and '.*' are one to the text encoder"):
        zero_shot_head(
            parameters(reference), architecture, ["dog", "cat", other], ["a {}.", "{}"], "tasks.pets.classnames"
        )


def test_names_that_differ_beyond_what_is_read_are_refused(tiny: Model) -> None:
    reference, architecture = tiny
    long = "x " * architecture.context_length
    with pytest.raises(TatrError, match="which reads the beginning of a prompt alone"):
        zero_shot_head(parameters(reference), architecture, [f"{long}a", f"{long}b"], ["a {}."])
