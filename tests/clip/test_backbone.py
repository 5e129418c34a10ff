"""Backbones by name: open_clip's configs, what is known of weights, and the step that takes them over."""

import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip import pretrained
from open_clip.model import CLIP
from safetensors.numpy import load_file, save_file

from backbone import run
from tatr.clip import backbone as backbones
from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.clip.backbone import Known, check_activation, complete_config, of_tag
from tatr.clip.model_configs import model_config
from tatr.digests import file_digest, published_digest
from tatr.errors import TatrError
from tatr.weights.encoder_file import save_tensors
from tatr.weights.fingerprint import fingerprint
from tatr.workflow.artefact import FILE, Artefact
from tatr.workflow.job import Job, Settings

Tensors = dict[str, np.ndarray]
INCEPTION = [0.5, 0.5, 0.5]


@pytest.fixture
def tensors(architecture: Architecture) -> Tensors:
    rng = np.random.default_rng(0)
    parameters = [*architecture.layout().parameters, *architecture.text_layout().parameters]
    return {p.name: np.asarray(rng.normal(0, 0.1, p.shape), np.float32) for p in parameters}


@pytest.fixture
def take_over(tmp_path: Path, model: dict[str, Any]) -> Callable[..., Path]:
    """Run the step on a file, or on what was downloaded; the folder it wrote."""

    def run_it(file: Path | None = None, downloaded: Artefact | None = None, **settings: object) -> Path:
        given: dict[str, Any] = {"model": model, "name": "ViT-B-32-quickgelu"} | settings
        if file and "digest" not in given:
            given.setdefault("fingerprint", fingerprint(file, "backbone.weights"))
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        run(
            Job(
                Settings(given),
                {"download": [downloaded] if downloaded else []},
                file,
                folder,
                tmp_path / "saved",
                "key",
            )
        )
        return folder

    return run_it


def test_the_activation_of_every_pair_that_open_clip_offers_is_known() -> None:
    wrong = {("ViT-B-32", "openai"), ("ViT-L-14", "metaclip_400m"), ("ViT-H-14", "dfn5b")}
    right = {("ViT-B-32-quickgelu", "openai"), ("ViT-B-32", "laion2b_s34b_b79k"), ("ViT-H-14", "metaclip_altogether")}
    found: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    for name, tag in pretrained.list_pretrained():
        try:
            check_activation(open_clip.get_model_config(name), of_tag(name, tag), name, tag)
            found[True].add((name, tag))
        except TatrError as error:
            assert str(error).endswith(f"but this model has GELU; use {name}-quickgelu")
            found[False].add((name, tag))
    assert wrong <= found[False]
    assert right <= found[True]
    quick = {pair for pair in found[True] if "quickgelu" in pair[0]}
    assert {(name.removesuffix("-quickgelu"), tag) for name, tag in quick} == found[False]


@pytest.mark.parametrize(
    ("name", "tag", "message"),
    [
        (
            "ViT-B-32",
            "openai",
            r"ViT-B-32 with weights 'openai': these weights were trained with QuickGELU \(open_clip's table\), "
            "but this model has GELU; use ViT-B-32-quickgelu",
        ),
        (
            "ViT-B-32-quickgelu",
            "laion2b_s34b_b79k",
            "trained with GELU .*, but this model has QuickGELU; use ViT-B-32$",
        ),
        ("ViT-B-32", "openay", r"no weights 'openay' of ViT-B-32 \(it has: openai, laion400m_e31"),
    ],
)
def test_weights_of_the_other_activation(name: str, tag: str, message: str) -> None:
    with pytest.raises(TatrError, match=message):
        check_activation(model_config(name), of_tag(name, tag), name, tag)


def test_preprocessing_that_belongs_to_the_weights_is_written_out(model: dict[str, Any]) -> None:
    siglip = of_tag("ViT-B-16-SigLIP", "webli")
    with pytest.raises(TatrError, match=r"webli: these weights expect .*'squash'.*; write backbone\.resize: squash"):
        complete_config(model, siglip, {}, "webli")
    found = complete_config(model, siglip, {"resize": "squash"}, "webli")["preprocess_cfg"]
    assert found == {"mean": INCEPTION, "std": INCEPTION, "interpolation": "bicubic", "resize_mode": "squash"}
    with pytest.raises(TatrError, match=r"write backbone\.resize: shortest"):
        complete_config(model, of_tag("ViT-B-32-quickgelu", "openai"), {"resize": "squash"}, "openai")


def test_preprocessing_without_knowledge_is_clip_s_or_the_user_s(
    model: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    unknown = Known("nobody")
    found = complete_config(model, unknown, {"resize": "squash", "mean": INCEPTION}, "file")
    assert found["quick_gelu"] is True
    assert found["preprocess_cfg"]["mean"] == INCEPTION
    assert found["preprocess_cfg"]["std"] == pytest.approx(open_clip.OPENAI_DATASET_STD)
    assert found["preprocess_cfg"]["resize_mode"] == "squash"
    assert not caplog.text
    complete_config(
        model, of_tag("ViT-L-14-CLIPA", "datacomp1b"), {"resize": "squash", "mean": INCEPTION}, "datacomp1b"
    )
    assert "datacomp1b: trained with bilinear resizing" in caplog.text
    assert "backbone.mean: [0.5, 0.5, 0.5], but these weights expect (0.485" in caplog.text


def test_a_shipped_backbone_is_taken_over_without_torch(
    run_script: Callable[..., tuple[int, str, set[str]]], tensors: Tensors, model: dict[str, Any], tmp_path: Path
) -> None:
    file, output = tmp_path / "model.safetensors", tmp_path / "out" / "b" / FILE
    save_tensors(tensors, file)
    settings = json.dumps({"model": model, "digest": file_digest(file)})
    code, printed, modules = run_script("backbone", "--file", file, "--settings", settings, "--output", output)
    assert code == 0, printed
    assert not {"torch", "open_clip", "timm"} & modules
    visual, text = (load_file(output.parent / name) for name in ("encoder.safetensors", "text.safetensors"))
    assert all(name.startswith("visual.") for name in visual)
    assert {name: array.tolist() for name, array in (visual | text).items()} == {
        name: array.tolist() for name, array in tensors.items()
    }
    written = json.loads((output.parent / "model.json").read_text())
    assert written["quick_gelu"] is True
    assert Architecture.of(written, "model.json") == Architecture.of(
        model | {"preprocess_cfg": written["preprocess_cfg"]}, "m"
    )
    layout = json.loads((output.parent / "layout.json").read_text())
    assert list(layout) == [p.name for p in Architecture.of(model, "m").layout().parameters]


def test_a_state_dict_of_unknown_activation_is_taken_over_with_a_note(
    take_over: Callable[..., Path], tensors: Tensors, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    torch.save({name: torch.tensor(array).half() for name, array in tensors.items()}, tmp_path / "weights.pt")
    visual = load_file(take_over(tmp_path / "weights.pt") / "encoder.safetensors")
    for name, array in visual.items():
        np.testing.assert_array_equal(array, tensors[name].astype(np.float16).astype(np.float32))
    assert "weights.pt: the activation of these weights is unknown; using QuickGELU" in caplog.text


@pytest.mark.parametrize("says", ["open_clip_config.json", "digest"])
def test_what_is_known_of_a_file_must_agree_with_the_model(
    take_over: Callable[..., Path],
    tensors: Tensors,
    model: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    says: str,
) -> None:
    file = tmp_path / "weights.safetensors"
    save_file(tensors, file)
    if says == "digest":
        stated = {
            "url": f"https://example.org/b-{published_digest(file)[:8]}.pt",
            "quick_gelu": False,
            "mean": INCEPTION,
        }
        monkeypatch.setitem(pretrained._PRETRAINED, "ViT-B-32", {"tests": stated})
    else:
        config = {"model_cfg": {"quick_gelu": False}, "preprocess_cfg": {"mean": INCEPTION}}
        (tmp_path / says).write_text(json.dumps(config))
    with pytest.raises(TatrError, match=r"weights\.safetensors': .*with GELU .*has QuickGELU; use ViT-B-32$"):
        take_over(file)
    made = take_over(file, model=model | {"quick_gelu": False}, name="ViT-B-32")
    written = json.loads((made / "model.json").read_text())
    assert written["preprocess_cfg"]["mean"] == INCEPTION
    assert written["quick_gelu"] is False


def test_transformers_activations_that_we_lack_are_refused(tmp_path: Path) -> None:
    facts = {"format": "safetensors, transformers names", "quick_gelu": None}
    config = {"model_type": "clip", "vision_config": {"hidden_act": "gelu_new"}, "text_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TatrError, match=r"hidden_act is gelu_new, quick_gelu; expected quick_gelu or gelu, the same"):
        backbones.of_file(tmp_path, facts)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("config.json", '{"vision_config": null}', None),
        (
            "config.json",
            '{"vision_config": {"hidden_act": ["gelu"]}}',
            r"hidden_act is \['gelu'\]; expected quick_gelu",
        ),
        ("config.json", '{"vision_config": {"hidden_act": null}}', "hidden_act is None; expected quick_gelu"),
        ("config.json", "[" * 99_999, "config.json: not JSON .*; copy it again, or remove it"),
        ("config.json", "[]", "config.json: not JSON .*; copy it again, or remove it"),
        ("open_clip_config.json", '{"preprocess_cfg": null}', None),
        ("open_clip_config.json", '{"preprocess_cfg": [1]}', r"preprocess_cfg: \[1\]: expected a section"),
        (
            "preprocessor_config.json",
            '{"image_mean": 0.5}',
            "preprocessor_config.json: mean: 0.5: expected three numbers",
        ),
        ("preprocessor_config.json", '{"image_std": [0, 1, 1]}', "std: .*: expected three numbers above 0"),
    ],
)
def test_configs_beside_weights_that_are_not_as_they_should_be(
    name: str, text: str, told: str | None, tmp_path: Path
) -> None:
    library = "open_clip" if name.startswith("open_clip") else "transformers"
    facts = {"format": f"safetensors, {library} names", "quick_gelu": None}
    (tmp_path / name).write_text(text)
    if told is None:
        assert not backbones.of_file(tmp_path, facts).preprocess
        return
    with pytest.raises(TatrError, match=told):
        backbones.of_file(tmp_path, facts)


def test_fetched_weights(
    take_over: Callable[..., Path], tensors: Tensors, make_artefact: Callable[..., Artefact]
) -> None:
    def write(folder: Path) -> dict[str, str]:
        (folder / "files").mkdir()
        save_file(tensors, folder / "files" / "open_clip_model.safetensors")
        return {}

    downloaded = make_artefact("download", "f", {"open_clip": "ViT-B-32-quickgelu", "tag": "openai"}, write)
    with pytest.raises(TatrError, match=r"holds .*'openai'.*expected the weights 'metaclip_400m' of ViT-B-32"):
        take_over(downloaded=downloaded, weights="metaclip_400m")
    folder = take_over(downloaded=downloaded, weights="openai")
    assert load_file(folder / "text.safetensors").keys() | load_file(folder / "encoder.safetensors").keys() == set(
        tensors
    )


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("visual.positional_embedding", (17, 16), r"17 positions, and the model has 5: .*; nothing is interpolated"),
        ("visual.proj", (16, 5), r"'visual\.proj' has shape \[16, 5\], expected \[16, 12\]"),
        ("visual.ln_post.bias", None, r"'visual\.ln_post\.bias' is missing"),
        ("visual.new", (2,), r"'visual\.new' is not part of the encoder"),
        ("ln_final.bias", None, r"'ln_final\.bias' is missing"),
    ],
)
def test_weights_of_another_model(
    tensors: Tensors, architecture: Architecture, name: str, shape: tuple[int, ...] | None, message: str
) -> None:
    rest = {key: tensor for key, tensor in tensors.items() if key != name}
    other = {} if shape is None else {name: np.zeros(shape, np.float32)}
    with pytest.raises(TatrError, match=f"source: .*{message}"):
        backbones.split_towers(rest | other, architecture, "source")


def test_weights_without_a_text_encoder(tensors: Tensors, architecture: Architecture) -> None:
    visual = {name: tensor for name, tensor in tensors.items() if name.startswith(("visual.", "logit_scale"))}
    with pytest.raises(TatrError, match="source: holds no text encoder, which the zero-shot heads are made with"):
        backbones.split_towers(visual, architecture, "source")


def test_older_names_and_shapes_of_open_clip_are_understood(model: dict[str, Any], tensors: Tensors) -> None:
    architecture = Architecture.of(model | {"custom_text": True}, "model.json")
    _, text = backbones.split_towers(tensors | {"logit_scale": np.ones(1, np.float32)}, architecture, "source")
    assert [*text] == [p.name for p in architecture.text_layout().parameters]
    assert text["logit_scale"].shape == ()
    np.testing.assert_array_equal(text["text.ln_final.bias"], tensors["ln_final.bias"])


def test_a_file_that_changed_since_planning(take_over: Callable[..., Path], tensors: Tensors, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(TatrError, match=r"w\.safetensors: has changed since the workflow was planned; run snakemake"):
        take_over(tmp_path / "w.safetensors", fingerprint="0123456789abcdef")


def test_features_of_a_backbone_taken_over_are_those_of_the_model(
    take_over: Callable[..., Path], model: dict[str, Any], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    reference = CLIP(**model).eval()
    torch.save(reference.state_dict(), tmp_path / "w.bin")
    folder = take_over(tmp_path / "w.bin")
    architecture = Architecture.of(json.loads((folder / "model.json").read_text()), "model.json")
    images = torch.randn(2, 3, 8, 8)
    found = clip.image_features(clip.to_tensors(load_file(folder / "encoder.safetensors")), images, architecture)
    torch.testing.assert_close(found, reference.encode_image(images), rtol=1e-5, atol=1e-6)
