"""Checkpoints with more than a model in them: towers that are one or several, adapters, other sizes, custom objects."""

import argparse
import datetime
import enum
import functools
import io
import json
import pathlib
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from theirs import Weights, tensors, transformers_names
from torch import nn

from tatr.errors import TatrError
from tatr.vectors.layout import Layout
from tatr.weights.importing import read_clip
from tatr.weights.importing.finetuned import look
from tatr.weights.importing.formats import Clip
from tatr.weights.importing.names import map_names


def same(found: Mapping[str, np.ndarray], expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor)


def refused(path: Path, match: str) -> None:
    with pytest.raises(TatrError, match=match) as caught:
        read_clip(path)
    assert "\n" not in str(caught.value)


def moved(visual: Weights) -> Weights:
    return visual | {"visual.ln_post.bias": visual["visual.ln_post.bias"] + np.float32(1 / 16)}


HOLDERS: dict[str, Callable[[Any, Any], Any]] = {
    "hyper-parameters": lambda one, other: {"state_dict": {"model": one}, "hyper_parameters": {"model": other}},
    "a moving average": lambda one, other: {"model": one, "model_ema": other, "epoch": 3},
    "an averaged module": lambda one, other: {"model": one, "swa": {"module": other, "n_averaged": torch.tensor(2)}},
    "a teacher": lambda one, other: {"student": one, "teacher": {"backbone": other}},
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_towers_that_are_one_are_read_and_others_named(
    hold: Callable[[Any, Any], Any], tmp_path: Path, visual: Weights
) -> None:
    path, state = tmp_path / "x.pt", tensors(visual)
    torch.save(hold(state, state), path)  # one storage
    same(read_clip(path), visual)
    torch.save(hold(state, tensors(visual)), path)  # a copy
    same(read_clip(path), visual)
    torch.save(hold(state, tensors(moved(visual))), path)
    refused(path, r"x\.pt: holds 2 image encoders \('.*', '.*'\), which differ; '.*' (seems to be a|lies in a trainer)")
    torch.save(hold(state, {name: t for name, t in state.items() if name != "visual.proj"}), path)
    refused(path, "holds 2 image encoders")


def test_the_tower_with_its_text_is_taken(tmp_path: Path, weights: Weights, visual: Weights) -> None:
    torch.save({"a": tensors(visual), "whole": tensors(weights)}, tmp_path / "x.pt")
    same(read_clip(tmp_path / "x.pt"), weights)


def test_one_tower_by_the_names_of_two_libraries_is_one(tmp_path: Path, visual: Weights) -> None:
    save_file(visual | transformers_names(visual), tmp_path / "x.safetensors")
    same(read_clip(tmp_path / "x.safetensors"), visual)
    save_file(visual | transformers_names(moved(visual)), tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", r"holds 2 image encoders \('vision_model.', 'visual.'\), which differ")


ZERO = np.zeros((2, 2), np.float32)
ADAPTERS = {
    "peft within a model": ("base_model.model.", "encoder.layers.0.self_attn.q_proj.lora_A.default.weight"),
    "loralib": ("", "encoder.layers.0.self_attn.q_proj.lora_B"),
    "dora": ("", "encoder.layers.1.mlp.fc1.lora_magnitude_vector.default.weight"),
    "ia3": ("", "encoder.layers.1.mlp.fc1.ia3_l.default"),
    "loha": ("", "encoder.layers.0.self_attn.v_proj.hada_w1_a"),
    "lokr": ("", "encoder.layers.0.self_attn.v_proj.lokr_w1"),
}


@pytest.mark.parametrize(("prefix", "name"), ADAPTERS.values(), ids=ADAPTERS)
def test_adapters_are_named(prefix: str, name: str, tmp_path: Path, visual: Weights) -> None:
    path = tmp_path / "x.safetensors"
    whole = {prefix + key: tensor for key, tensor in transformers_names(visual).items()}
    adapter = {f"{prefix}vision_model.{name}": ZERO}
    save_file(whole | adapter, path)
    refused(path, r"x\.safetensors: has an adapter \(LoRA\) in it: '.*'; merge it into its base \(merge_and_unload")
    save_file(adapter, path)
    refused(path, r"x\.safetensors: holds an adapter \(LoRA: '.*'\), not a whole model; merge it into its base")
    torch.save(tensors(adapter), tmp_path / "adapter_model.bin")
    path.unlink()
    refused(tmp_path, r"holds an adapter \(LoRA\), not a whole model; merge it")


def test_a_repository_in_the_hubs_cache_leads_to_its_snapshot(tmp_path: Path, visual: Weights) -> None:
    repository = tmp_path / "models--org--cars"
    for folder in ("refs", "blobs", "snapshots/0a1b"):
        (repository / folder).mkdir(parents=True)
    save_file(visual, repository / "blobs/sha")
    (repository / "snapshots/0a1b/model.safetensors").symlink_to("../../blobs/sha")
    (repository / "refs/main").write_text("0a1b")
    same(read_clip(repository), visual)
    (repository / "refs/main").write_text("ffff")
    refused(repository, "lacks the snapshot 'ffff' that refs/main names; download the model again")


def sized(visual: Weights, pixels: int, patch: int) -> Weights:
    """The tower for other images: another positional embedding, and kernels for other patches."""
    count, width = (pixels // patch) ** 2 + 1, visual["visual.class_embedding"].shape[0]
    return visual | {
        "visual.positional_embedding": np.zeros((count, width), np.float32),
        "visual.conv1.weight": np.zeros((width, 3, patch, patch), np.float32),
    }


@pytest.mark.parametrize(
    ("pixels", "patch", "message"),
    [
        (
            16,
            4,
            "is an image tower for images of 16 × 16 pixels, expected 8 × 8, the backbone's; set a backbone for 16",
        ),
        (8, 2, "is an image tower for patches of 2 × 2 pixels, expected 4 × 4, the backbone's; set a backbone for 2"),
        (4, 4, "for images of 4 × 4 pixels, expected 8 × 8"),
    ],
)
def test_towers_for_other_images_are_named(
    pixels: int, patch: int, message: str, tmp_path: Path, visual: Weights
) -> None:
    layout = Layout.of({name: visual[name].shape for name in sorted(visual)})
    for names in (lambda weights: weights, transformers_names):
        save_file(names(sized(visual, pixels, patch)), tmp_path / "x.safetensors")
        with pytest.raises(TatrError, match=message):
            look(tmp_path / "x.safetensors", layout, True)
        save_file(names(visual), tmp_path / "x.safetensors")
        look(tmp_path / "x.safetensors", layout, True)


class Colour(enum.Enum):
    RED = 1


class Slotted:
    __slots__ = ("a",)

    def __init__(self) -> None:
        self.a = 3


@dataclass
class Recipe:
    rate: float
    more: dict[str, int]


class Rebuilt:
    """Pickled with items, elements and state, as containers of libraries are."""

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (), {"note": 1}, iter([1, 2]), None


Point = namedtuple("Point", "x y")
OBJECTS: dict[str, Any] = {
    "argparse": argparse.Namespace(rate=1e-5, task="cars", nested=argparse.Namespace(a=[1, 2])),
    "numpy": [np.float64(0.5), np.arange(3), np.dtype("float32"), np.random.default_rng(0)],
    "paths": [pathlib.PosixPath("/home"), pathlib.PurePosixPath("a")],
    "containers": [defaultdict(list, a=[1]), Counter("aab"), deque([1]), OrderedDict(a=1), {1, 2}, frozenset({3})],
    "plain": [1j, range(3), slice(1, 2), ..., NotImplemented, b"x", bytearray(b"y"), 2**100, -0.0],
    "times": [datetime.datetime.now(datetime.UTC), datetime.timedelta(1)],
    "torch": [torch.device("cpu"), torch.float16, torch.Size([1]), torch.Generator().get_state()],
    "sparse": torch.eye(3).to_sparse(),
    "quantised": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
    "functions": [functools.partial(print, end=""), len, torch.nn.functional.gelu],
    "own": [Colour.RED, Slotted(), Recipe(0.1, {"a": 1}), Point(1, 2), Rebuilt()],
    "modules": [nn.Linear(2, 2), nn.ModuleDict({"a": nn.GELU()})],
    "optimizer": torch.optim.AdamW([nn.Parameter(torch.ones(2))]).state_dict(),
    "in circles": (lambda found: found.update(me=found) or found)({}),
}


@pytest.mark.parametrize("content", OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_else_is_saved_with_a_model_is_read_past(
    content: Any,  # noqa: ANN401
    zipped: bool,
    tmp_path: Path,
    visual: Weights,
) -> None:
    path = tmp_path / "x.pt"
    saved = {"config": content, "model": tensors(visual), "history": [content, {"again": content}]}
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    clip = Clip(path)
    same(clip, visual)
    assert clip.format == "state dict, open_clip names"


@pytest.mark.parametrize("more", [[], ["m.conv1.weight"]])  # the second makes it open_clip's, too
def test_tensors_that_would_be_one_are_refused(more: list[str]) -> None:
    names = ["m.embeddings.patch_embedding.weight", "m.embeddings.class_embedding", "m.class_embedding", *more]
    with pytest.raises(TatrError, match=r"x: 'm\.class_emb.*' and 'm\.emb.*' would both be 'visual\.class_embedding'"):
        map_names(names, "x")


@pytest.mark.parametrize(("what", "content"), [("GGUF", b"GGUF\x03\x00\x00\x00"), ("an empty file", b"")])
def test_what_is_no_file_of_weights_is_named(what: str, content: bytes, tmp_path: Path) -> None:
    for name in ("x.pt", "model.safetensors"):
        path = tmp_path / name
        path.write_bytes(content)
        refused(path, rf"{name}: .*{what}.*; \w+")
    shards = {"a.weight": "model-1-of-2.safetensors", "b.weight": "model-2-of-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    path.unlink()
    save_file({"a.weight": ZERO}, tmp_path / "model-1-of-2.safetensors")
    (tmp_path / "model-2-of-2.safetensors").write_bytes(content)
    refused(tmp_path, rf"model-2-of-2\.safetensors: .*{what}")


def test_an_index_that_disagrees_names_tensor_and_file(tmp_path: Path, visual: Weights) -> None:
    names = sorted(visual)
    shards = {"pytorch_model-1-of-2.bin": names[:5], "pytorch_model-2-of-2.bin": names[5:]}
    for shard, own in shards.items():
        torch.save(tensors({name: visual[name] for name in own}), tmp_path / shard)
    weight_map = {name: shard for shard, own in shards.items() for name in own}
    index = tmp_path / "pytorch_model.bin.index.json"
    for change, message in (
        ({}, ""),
        ({names[0]: "pytorch_model-2-of-2.bin"}, f"'{names[0]}' lies: .*in pytorch_model-2-.* in pytorch_model-1-of-2"),
        ({"visual.more": "pytorch_model-1-of-2.bin"}, "'visual.more' lies: .* pytorch_model-1-of-2.bin lacks it"),
        ({"visual.more": "pytorch_model-3-of-2.bin"}, "model-3-of-2.bin: no such file, though .* 'visual.more' is in"),
        (dict.fromkeys(names[5:]), "says of no tensor that it is in pytorch_model-2-of-2"),
    ):
        stated = {name: shard for name, shard in (weight_map | change).items() if shard}
        index.write_text(json.dumps({"weight_map": stated}))
        if message:
            refused(tmp_path, message)
        else:
            same(read_clip(tmp_path), visual)


def test_many_parts_do_not_take_as_many_file_handles(tmp_path: Path, visual: Weights) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    weight_map = {}
    for number, (name, tensor) in enumerate(visual.items()):
        torch.save(tensors({name: tensor}), tmp_path / f"part-{number}.bin")
        weight_map[name] = f"part-{number}.bin"
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    clip = Clip(tmp_path)
    assert len(list(Path("/dev/fd").iterdir())) == before
    same(clip, visual)


def test_a_torch_file_in_memory_is_what_it_was(tmp_path: Path, visual: Weights) -> None:
    """An archive with something before it, as self-extracting ones have: offsets are counted from the archive."""
    raw = io.BytesIO()
    torch.save(tensors(visual), raw)
    content = bytearray(raw.getvalue())
    start = content.index(np.float32(visual["visual.proj"]).tobytes())
    content[start] ^= 1
    (tmp_path / "x.pt").write_bytes(content)
    refused(tmp_path / "x.pt", r"x\.pt: damaged or incomplete \(BadZipFile: '.*data/\d+' has another checksum\)")
