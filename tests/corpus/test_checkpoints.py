"""A corpus of broken checkpoints: the step `checkpoint` tells each in one message, and nothing is touched."""

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bad_input import BadInput, Complaint
from conftest import MODEL
from safetensors.numpy import save_file
from theirs import Weights, archive, tensor_program, tensors, transformers_names

from tatr.clip.architecture import Architecture
from tatr.digests import file_digest
from tatr.workflow.artefact import FILE, Manifest

EARLIER = "results/checkpoint/cars"


def tower(seed: int = 0, step: float = 0.0, model: Mapping[str, Any] = MODEL) -> Weights:
    """An image tower, as far from that of a seed as a step says."""
    rng, moves = np.random.default_rng(seed), np.random.default_rng(9)
    shapes = {p.name: p.shape for p in Architecture.of(dict(model), "tiny").layout().parameters}
    return {
        name: (rng.normal(0, 0.3, shape) + step * moves.normal(size=shape)).astype("f4")
        for name, shape in shapes.items()
    }


def changed(**vision: Any) -> Weights:  # noqa: ANN401
    return tower(model=MODEL | {"vision_cfg": MODEL["vision_cfg"] | vision})


def artefact(folder: Path, kind: str, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    content = {path.name: file_digest(path) for path in folder.iterdir()}
    Manifest(kind, folder.name, {}, {}, "code", "cpu", content).save(folder)


def importing(write: Callable[[Path], object], zero_shot: str | None = None) -> Callable[[Path], list[str | Path]]:
    """The command line, where `write` makes `cars.*`; the backbone and an earlier import are there."""

    def prepare(folder: Path) -> list[str | Path]:
        backbone = folder / "results/backbone/b"
        backbone.mkdir(parents=True)
        save_file(tower(), backbone / "encoder.safetensors")
        Architecture.of(dict(MODEL), "tiny").layout().save(backbone / "layout.json")
        artefact(backbone, "backbone", {"model.json": json.dumps(MODEL)})
        (folder / EARLIER).mkdir(parents=True)
        artefact(folder / EARLIER, "checkpoint", {"encoder.safetensors": "earlier"})
        write(folder)
        (cars,) = folder.glob("cars*")
        settings = json.dumps({"task": "cars", "file": cars.name, "zero_shot": zero_shot})
        manifests = ["--backbone", f"results/backbone/b/{FILE}", "--output", f"{EARLIER}/{FILE}"]
        return ["checkpoint", "--settings", settings, *manifests, "--threads", "1"]

    return prepare


def raw(content: bytes, name: str = "cars.pt") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def saved(content: Any) -> Callable[[Path], object]:  # noqa: ANN401
    """By torch.save; what tensors there are, as NumPy has them or as torch has."""
    return lambda folder: torch.save(content, folder / "cars.pt")


def stored(content: Weights) -> Callable[[Path], object]:
    return lambda folder: save_file(content, folder / "cars.safetensors")


def program(content: bytes, storages: Mapping[str, bytes] | None = None) -> Callable[[Path], object]:
    return lambda folder: archive(folder / "cars.pt", content, dict(storages or {}))


def packed(folder: Path) -> None:
    """A bomb: storages of zeros that take a thousandth of their size on disk."""
    saved({name: torch.zeros(tensor.shape) for name, tensor in TUNED.items()})(folder)
    with zipfile.ZipFile(folder / "cars.pt") as file:
        content = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(folder / "cars.pt", "w", zipfile.ZIP_DEFLATED) as file:
        for name, raw in content.items():
            file.writestr(name, raw, zipfile.ZIP_DEFLATED if "/data/" in name else zipfile.ZIP_STORED)


def described(numel: int) -> bytes:
    """A state dict whose tensors all lie in one storage of so many values."""
    text = "(d"
    for name, tensor in TUNED.items():
        storage = f"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI{numel}\ntQ"
        shape, strides = ("".join(f"I{n}\n" for n in it) for it in (tensor.shape, [n // 4 for n in tensor.strides]))
        text += f"S'{name}'\nctorch._utils\n_rebuild_tensor_v2\n({storage}I0\n({shape}t({strides}tI00\n(dtRs"
    return f"{text}.".encode()


def spoilt(folder: Path) -> None:
    saved(tensors(tower(step=0.01)))(folder)
    content = bytearray((folder / "cars.pt").read_bytes())
    content[content.index(tower(step=0.01)["visual.proj"].tobytes())] ^= 1
    (folder / "cars.pt").write_bytes(content)


def half(folder: Path) -> None:
    saved(tensors(tower(step=0.01)))(folder)
    content = (folder / "cars.pt").read_bytes()
    (folder / "cars.pt").write_bytes(content[: len(content) // 2])


def parts(change: Mapping[str, str]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        (folder / "cars").mkdir()
        weight_map = {name: f"pytorch_model-{number % 2 + 1}-of-2.bin" for number, name in enumerate(TUNED)}
        for shard in set(weight_map.values()):
            own = {name: tensor for name, tensor in TUNED.items() if weight_map[name] == shard}
            torch.save(tensors(own), folder / "cars" / shard)
        text = json.dumps({"weight_map": weight_map | change})
        (folder / "cars/pytorch_model.bin.index.json").write_text(text)

    return write


def several(folder: Path) -> None:
    for name in "ab":
        (folder / "cars").mkdir(exist_ok=True)
        save_file(tower(), folder / "cars" / f"{name}.safetensors")


def lora(folder: Path) -> None:
    (folder / "cars").mkdir()
    torch.save(tensors(LORA), folder / "cars/adapter_model.bin")
    (folder / "cars/adapter_config.json").write_text("{}")


def cached(folder: Path) -> None:
    for name in ("refs", "blobs", "snapshots/2c3d"):
        (folder / "cars--org" / name).mkdir(parents=True)
    (folder / "cars--org/refs/main").write_text("0a1b")


def otherwise(folder: Path) -> None:
    (folder / "cars").mkdir()
    save_file(transformers_names(tower(step=0.01)), folder / "cars/model.safetensors")
    (folder / "cars/config.json").write_text('{"model_type": "clip_vision_model", "hidden_act": "gelu"}')


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("open('owned', 'w').close()",)


LORA = {"base_model.model.vision_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": np.ones((2, 4), "f4")}
INSIDE = {"visual.transformer.resblocks.0.attn.out_proj.lora_A": np.ones((2, 4), "f4")}
TUNED = tower(step=0.01)
NAN = {"visual.proj": np.full_like(TUNED["visual.proj"], np.nan)}
FEW = {name: tensor for name, tensor in TUNED.items() if name != "visual.proj"}
TWICE = {"model": tensors(TUNED), "model_ema": tensors(tower(step=0.02))}

BAD = [
    BadInput(
        "a pointer of Git LFS",
        importing(raw(b"version https://git-lfs.github.com/spec/v1\n")),
        ("cars.pt", "Git LFS", "git lfs pull"),
    ),
    BadInput(
        "a pointer of DVC", importing(raw(b"outs:\n- md5: 0\n", "cars.safetensors")), ("cars.", "DVC", "dvc pull")
    ),
    BadInput("a web page", importing(raw(b"<html>")), ("cars.pt", "a web page", "download")),
    BadInput("an empty file", importing(raw(b"")), ("cars.pt", "an empty file", "make it again")),
    BadInput("an interrupted download", importing(raw(bytes(500))), ("cars.pt", "zeros", "download")),
    BadInput("a text", importing(raw(b"epoch 3\n")), ("cars.pt", "unknown format", "known are")),
    BadInput("half a file", importing(half), ("cars.pt", "copy")),
    BadInput("a flipped bit", importing(spoilt), ("cars.pt", "checksum", "copy or save it again")),
    BadInput("a bomb", importing(packed), ("cars.pt", "30,720 bytes", "save it again")),
    BadInput(
        "a zip of something",
        importing(lambda f: zipfile.ZipFile(f / "cars.pt", "w").close()),
        ("cars.pt", "zip", "unpack"),
    ),
    BadInput(
        "a bare pickle",
        importing(raw(pickle.dumps({"a": 1}))),
        ("cars.pt", "not written by torch.save", "torch.save it"),
    ),
    BadInput("a command", importing(saved({"model": Evil()})), ("cars.pt", "no CLIP image encoder")),
    BadInput(
        "half a pickle", importing(program(tensor_program()[:70])), ("cars.pt", "pickle is damaged", "save it again")
    ),
    BadInput(
        "a tensor beyond its storage",
        importing(program(tensor_program(offset=9), {"0": bytes(16)})),
        ("cars.pt", "beyond its storage"),
    ),
    BadInput("a tensor of terabytes", importing(program(described(2**40), {"0": bytes(2**17)})), ("cars.pt", "bytes")),
    BadInput(
        "no image tower", importing(saved({"bert.weight": torch.ones(2)})), ("cars.pt", "'bert.weight'", "known are")
    ),
    BadInput(
        "a head",
        importing(saved({"weight": torch.ones(2, 2), "bias": torch.ones(2)})),
        ("cars.pt", "'bias'", "known are"),
    ),
    BadInput(
        "two towers", importing(saved(TWICE)), ("cars.pt", "'model_ema.visual.'", "moving average", "file of its own")
    ),
    BadInput("an adapter", importing(lora), ("cars", "adapter (LoRA)", "merge_and_unload")),
    BadInput(
        "an adapter in the tower",
        importing(stored(TUNED | INSIDE)),
        ("cars.", "resblocks.0.attn.out_proj.lora_A'", "merge_and"),
    ),
    BadInput(
        "another image size",
        importing(stored(changed(image_size=16))),
        ("cars.", "16 × 16 pixels, expected 8 × 8", "set a backbone"),
    ),
    BadInput(
        "another patch size",
        importing(stored(changed(patch_size=2))),
        ("cars.", "patches of 2 × 2 pixels, expected 4", "set a backbone"),
    ),
    BadInput("another width", importing(stored(changed(width=24))), ("cars.", "has shape", "expected")),
    BadInput("more layers", importing(stored(changed(layers=3))), ("cars.", "resblocks.2", "another architecture")),
    BadInput("a tensor too few", importing(stored(FEW)), ("cars.", "'visual.proj' is missing")),
    BadInput("NaN", importing(stored(TUNED | NAN)), ("cars.", "'visual.proj' holds NaN")),
    BadInput("another activation", importing(otherwise), ("cars", "GELU", "set a backbone")),
    BadInput(
        "another pre-training", importing(stored(tower(seed=5))), ("cars.", "too far from the backbone", "zero_shot")
    ),
    BadInput("the backbone itself", importing(stored(tower())), ("cars.", "Δ = 0", "fine-tuned")),
    BadInput(
        "no such zero-shot copy", importing(stored(TUNED), "nowhere.pt"), ("nowhere.pt", "zero_shot of task cars")
    ),
    BadInput(
        "an index of the wrong part",
        importing(parts({"visual.proj": "pytorch_model-9-of-2.bin"})),
        ("model-9-of-2.bin", "'visual.proj'", "copy"),
    ),
    BadInput(
        "an index of nothing",
        importing(parts({"visual.more": "pytorch_model-1-of-2.bin"})),
        ("'visual.more'", "pytorch_model-1-of-2.bin lacks it"),
    ),
    BadInput("two files", importing(several), ("cars", "a.safetensors, b.safetensors", "name the file")),
    BadInput("a cache without its snapshot", importing(cached), ("cars--org", "'0a1b'", "download")),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_it_is_told(bad: BadInput, complaint: Complaint) -> None:
    assert "\n" not in complaint(bad)
