"""open_clip's model configs as the plan reads them: by name, without importing open_clip."""

import subprocess
import sys
from typing import Any

import open_clip
import pytest

from tatr.clip import model_configs
from tatr.clip.model_configs import image_size, model_config
from tatr.errors import TatrError
from tatr.workflow.code_digest import SCRIPTS


@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-L-14", "ViT-bigG-14", "EVA02-B-16", "coca_ViT-B-32"])
def test_a_model_s_config_is_open_clips_own(name: str) -> None:
    assert model_config(name) == open_clip.get_model_config(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B32-quickgelu", r"open_clip has no model 'ViT-B32-quickgelu'; did you mean ViT-B-32-quickgelu"),
        ("vit-b-32", r"no model 'vit-b-32'; did you mean ViT-B-32"),
        ("../model_configs/ViT-B-32", "no model"),
        ("qqqqqqqq", "no model 'qqqqqqqq'$"),
        ("RN50", "a ResNet is not supported; use one with a vision transformer such as ViT-B-32-quickgelu"),
        ("convnext_base", "the image encoder convnext_base is not a vision transformer"),
    ],
)
def test_names_that_are_none_or_of_other_models(name: str, message: str) -> None:
    with pytest.raises(TatrError, match=r"backbone\.name: .*" + message):
        model_config(name)


@pytest.mark.parametrize(
    ("name", "lacks", "message"),
    [
        ("roberta-ViT-B-32", "transformers", "needs roberta-base of the library transformers, which is not installed"),
        ("ViT-B-16-SigLIP", "transformers", "needs timm/ViT-B-16-SigLIP of the library transformers"),
        ("EVA02-B-16", "timm", "needs eva02_base_patch16_clip_224 of the library timm"),
    ],
)
def test_libraries_that_a_model_needs(name: str, lacks: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = model_configs.find_spec("open_clip")
    monkeypatch.setattr(model_configs, "find_spec", lambda library: None if library == lacks else found)
    with pytest.raises(TatrError, match=message):
        model_config(name)
    monkeypatch.setattr(model_configs, "find_spec", lambda _: found)
    assert model_config(name)


def test_reading_a_config_imports_nothing_large() -> None:
    code = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); from tatr.clip.model_configs import model_config;"
    code += "model_config('ViT-B-32'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "open_clip", "timm", "pydantic"} & set(loaded)


@pytest.mark.parametrize(("given", "expected"), [({"image_size": 336}, 336), ({"image_size": [64, 64]}, 64), ({}, 224)])
def test_image_size(given: dict[str, Any], expected: int) -> None:
    assert image_size({"vision_cfg": given}) == expected


def test_oblong_images_are_refused() -> None:
    with pytest.raises(TatrError, match=r"vision_cfg\.image_size: \[64, 32\]: only models of square images"):
        image_size({"vision_cfg": {"image_size": [64, 32]}})


def test_all_of_open_clips_own_are_as_they_should_be() -> None:
    for name in open_clip.list_models():
        try:
            model_config(name)
        except TatrError as error:
            assert "not supported" in str(error) or "not installed" in str(error)
