"""Every format gives the same tensors from equal weights; what is no CLIP model, or incomplete, is refused by name."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from theirs import DEAD, Weights, tensors, transformers_names, transformers_text_names
from torch import nn

from tatr.errors import TatrError
from tatr.weights.importing import Clip, facts, read_clip
from tatr.weights.importing.provenance import zero_shot_copy_of
from tatr.weights.importing.torch_files import TorchFile

FORMATS = {
    "module.pt": "pickled module, open_clip names",
    "state_dict.pt": "state dict, open_clip names",
    "training.pt": "state dict, open_clip names",
    "legacy.bin": "state dict, open_clip names",
    "transformers.safetensors": "safetensors, transformers names",
    "transformers5.safetensors": "safetensors, transformers names",
    "clip_model": "safetensors, transformers names",
    "pytorch_model.bin": "state dict, transformers names",
    "open_clip.safetensors": "safetensors, open_clip names",
    "half.safetensors": "safetensors, open_clip names",
    "bfloat16.pt": "state dict, open_clip names",
    "scripted.pt": "TorchScript archive, open_clip names",
}


def same(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert tensor.dtype == np.float32
        assert tensor.flags.c_contiguous
        np.testing.assert_array_equal(tensor, expected[name], err_msg=name)


def test_equal_weights_are_equal_whatever_they_come_in(
    save_all: Callable[[Weights], dict[str, Path]], visual: Weights, weights: Weights
) -> None:
    paths = save_all(visual)
    assert paths.keys() == FORMATS.keys()
    for name, path in paths.items():
        same(dict(Clip(path, text=False)), visual)
        assert facts(path)["format"] == FORMATS[name]
    for name in ("training.pt", "legacy.bin", "clip_model", "open_clip.safetensors", "bfloat16.pt", "scripted.pt"):
        same(read_clip(paths[name]), weights)
    for name in ("module.pt", "state_dict.pt", "transformers.safetensors"):  # remnants are no text tower
        same(read_clip(paths[name]), visual)
    assert Clip(paths["state_dict.pt"]).dropped == sorted(f"model.{name}" for name in DEAD)


def test_a_vision_model_without_a_projection_lacks_it(tmp_path: Path, visual: Weights) -> None:
    theirs = transformers_names(visual)
    del theirs["visual_projection.weight"]
    save_file(theirs, tmp_path / "model.safetensors")
    same(read_clip(tmp_path), {name: tensor for name, tensor in visual.items() if name != "visual.proj"})


def test_an_encoder_saved_on_its_own(tmp_path: Path, visual: Weights) -> None:
    own = {name.removeprefix("visual."): tensor for name, tensor in visual.items()}
    torch.save(tensors(own), tmp_path / "a.pt")
    same(read_clip(tmp_path / "a.pt"), visual)
    torch.save(tensors(visual, "image_encoder.model."), tmp_path / "b.pt")
    same(read_clip(tmp_path / "b.pt"), visual)


def test_views_of_one_storage(tmp_path: Path, visual: Weights) -> None:
    """Transposed tensors, and all of a model in one flat storage."""
    flat = torch.cat([torch.tensor(tensor).reshape(-1) for tensor in visual.values()])
    views, start = {}, 0
    for name, tensor in visual.items():
        views[name] = flat[start : start + tensor.size].view(tensor.shape)
        start += tensor.size
    views["visual.proj"] = torch.tensor(visual["visual.proj"].T.copy()).T
    torch.save(views, tmp_path / "flat.pt")
    same(read_clip(tmp_path / "flat.pt"), visual)


class Config:
    """Something beside a model that refers to itself and to all else."""


def test_configs_in_circles_are_read_past(tmp_path: Path, visual: Weights) -> None:
    nodes = [Config() for _ in range(12)]
    for node in nodes:  # 12! ways through them
        node.__dict__ |= {f"n{i}": other for i, other in enumerate(nodes)}
    checkpoint: dict[str, object] = {"args": nodes[0], "state_dict": tensors(visual)}
    nodes[0].owner = checkpoint  # type: ignore[attr-defined]
    checkpoint["self"] = checkpoint
    torch.save(checkpoint, tmp_path / "x.pt")
    found = Clip(tmp_path / "x.pt")
    same(dict(found), visual)
    assert found.dropped == []
    torch.save(checkpoint, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    same(read_clip(tmp_path / "old.pt"), visual)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_modules_that_know_their_parents(tmp_path: Path, visual: Weights, pickled: Callable[..., nn.Module]) -> None:
    """As a plain attribute, and registered as a module, where PyTorch's own `state_dict` does not come to an end."""
    encoder = pickled(visual)
    encoder.model.visual.__dict__["parent"] = encoder.model
    torch.save(encoder, tmp_path / "x.pt")
    same(read_clip(tmp_path / "x.pt"), visual)
    encoder.model.visual.parent = encoder.model
    torch.save(encoder, tmp_path / "x.pt")
    same(read_clip(tmp_path / "x.pt"), visual)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_what_is_shared_has_all_the_names_that_pytorch_gives(
    tmp_path: Path, visual: Weights, pickled: Callable[..., nn.Module]
) -> None:
    encoder = pickled(visual)
    encoder.again = encoder.model.visual.ln_pre
    encoder.tied = nn.Linear(16, 16, bias=False)
    encoder.tied.weight = encoder.model.visual.proj
    torch.save(encoder, tmp_path / "x.pt")
    file = TorchFile(tmp_path / "x.pt")
    assert file.names == list(encoder.state_dict())
    assert {"again.weight", "model.visual.ln_pre.weight", "tied.weight", "model.visual.proj"} <= set(file.names)
    same({name: file.read(name) for name in file.names}, {n: t.numpy() for n, t in encoder.state_dict().items()})


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_model_in_parts(tmp_path: Path, visual: Weights, ending: str) -> None:
    theirs, stem = transformers_names(visual), "model" if ending == "safetensors" else "pytorch_model"
    names = sorted(theirs)
    parts = {f"{stem}-1-of-2.{ending}": names[:5], f"{stem}-2-of-2.{ending}": names[5:]}
    for file, own in parts.items():
        part = tensors({name: theirs[name] for name in own})
        (save_torch if ending == "safetensors" else torch.save)(part, tmp_path / file)
    index = {"weight_map": {name: file for file, own in parts.items() for name in own}}
    (tmp_path / f"{stem}.{ending}.index.json").write_text(json.dumps(index))
    same(read_clip(tmp_path), visual)
    assert facts(tmp_path)["format"].endswith("in parts, transformers names")
    (tmp_path / f"{stem}.{ending}.index.json").write_text(json.dumps({"weight_map": {"a": "../elsewhere.bin"}}))
    with pytest.raises(TatrError, match=r"index\.json: not an index of shards \(a shard is no file of this folder"):
        read_clip(tmp_path)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "clip_vision_model", "hidden_act": "quick_gelu"}, True),
        ({"model_type": "clip_vision_model", "hidden_act": "gelu"}, False),
        ({"model_type": "clip", "vision_config": {"hidden_act": "gelu"}}, False),
        ({"model_type": "clip", "vision_config": {}}, True),
        ({"model_type": "bert", "hidden_act": "gelu"}, None),
        (None, None),
    ],
)
def test_the_activation_that_transformers_states(
    tmp_path: Path, visual: Weights, config: dict[str, object] | None, expected: bool | None
) -> None:
    save_file(transformers_names(visual), tmp_path / "model.safetensors")
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert facts(tmp_path)["quick_gelu"] is expected


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_the_activation_that_open_clip_states_or_a_pickle_shows(
    tmp_path: Path, visual: Weights, pickled: Callable[..., nn.Module]
) -> None:
    save_file(visual, tmp_path / "open_clip_model.safetensors")
    assert facts(tmp_path)["quick_gelu"] is None
    for model, expected in (({"quick_gelu": True}, True), ({}, False)):
        (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
        assert facts(tmp_path)["quick_gelu"] is expected
    for activation, expected in ((None, True), (nn.GELU, False)):
        torch.save(pickled(visual, activation), tmp_path / "finetuned.pt")
        assert facts(tmp_path / "finetuned.pt")["quick_gelu"] is expected
        torch.save(pickled(visual, activation), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
        assert facts(tmp_path / "old.pt") == {"format": "pickled module, open_clip names", "quick_gelu": expected}


def test_what_is_in_the_image_tower_and_unknown_is_not_lost(tmp_path: Path, visual: Weights) -> None:
    """An adapter that nobody applies would be a silently wrong model."""
    adapter = {"vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": np.zeros((2, 2), np.float32)}
    save_file(transformers_names(visual) | adapter, tmp_path / "model.safetensors")
    refused(tmp_path, r"adapter \(LoRA\) in it: 'visual.encoder.layers.0.self_attn.q_proj.lora_A.weight'; merge it")
    unknown = {"vision_model.encoder.layers.0.self_attn.gate.weight": np.zeros((2, 2), np.float32)}
    save_file(transformers_names(visual) | unknown, tmp_path / "model.safetensors")
    assert "visual.encoder.layers.0.self_attn.gate.weight" in read_clip(tmp_path)
    outside = {"classifier.weight": np.zeros((2, 2), np.float32)}
    save_file(transformers_names(visual) | outside, tmp_path / "model.safetensors")
    same(read_clip(tmp_path), visual)
    assert Clip(tmp_path).dropped == ["classifier.weight"]


def refused(path: Path, match: str) -> None:
    with pytest.raises(TatrError, match=match) as caught:
        read_clip(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_clip_model(tmp_path: Path, visual: Weights, weights: Weights) -> None:
    path = tmp_path / "x.pt"
    torch.save({"bert.encoder.weight": torch.zeros(2)}, path)
    refused(path, r"x.pt: no CLIP image encoder in it; found 'bert.encoder.weight'; known are open_clip's")
    torch.save([1, 2], path)
    refused(path, "found no tensor at all")
    save_file(transformers_text_names(weights), path)
    refused(path, "no CLIP image encoder in it")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    refused(path, "only a pointer of Git LFS")
    path.write_text("<html>")
    refused(path, r"x\.pt: a web page, which came in place of the file; download, copy or make it again")
    path.write_text("epoch 3")
    refused(path, r"unknown format \(begins with b'epoch 3'\); known are files of torch.save .*; known are open_clip's")
    refused(tmp_path / "nowhere.pt", r"nowhere.pt: can't be read \(No such file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
    refused(path, "a zip archive, but not one of PyTorch's")


def test_which_file_of_a_folder(tmp_path: Path, visual: Weights) -> None:
    refused(tmp_path, r"which file holds the model\? Expected .* found none; name the file")
    save_file(visual, tmp_path / "a.safetensors")
    same(read_clip(tmp_path), visual)
    assert zero_shot_copy_of(tmp_path) is None
    (tmp_path / "zeroshot.pt").write_bytes(b"")
    same(read_clip(tmp_path), visual)
    assert zero_shot_copy_of(tmp_path) == tmp_path / "zeroshot.pt"
    (tmp_path / "._a.safetensors").write_bytes(b"\0\5\x16\7")  # by macOS
    same(read_clip(tmp_path), visual)
    save_file(visual, tmp_path / "b.safetensors")
    refused(tmp_path, r"found a.safetensors, b.safetensors; name the file")


def test_types_that_are_no_floats(tmp_path: Path, visual: Weights) -> None:
    path = tmp_path / "x.pt"
    torch.save(tensors(visual) | {"visual.proj": torch.zeros(2, dtype=torch.int8)}, path)
    refused(path, "'visual.proj' is stored as 'CharStorage', expected a floating-point type")
    torch.save(tensors(visual) | {"visual.counter": torch.tensor(3)}, path)
    same(read_clip(path), visual)
