"""A corpus of broken files of weights: `tatr merge-files` tells each in one message, and nothing is touched."""

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_input import BadInput, Complaint
from safetensors.numpy import save_file

NAMES = ("layers.0.q.weight", "layers.0.norm.weight", "layers.1.q.weight")
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def tensors(seed: int, prefix: str = "", **changes: Any) -> dict[str, np.ndarray]:  # noqa: ANN401
    rng = np.random.default_rng(seed)
    made = {prefix + name: rng.normal(size=(4, 4)).astype("f4") for name in NAMES}
    return {name: tensor for name, tensor in (made | changes).items() if tensor is not None}


def model(folder: Path, content: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    save_file(content, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def sharded(folder: Path, seed: int) -> Path:
    folder.mkdir()
    content = tensors(seed)
    weight_map = {name: SHARDS[number > 0] for number, name in enumerate(NAMES)}
    for shard in SHARDS:
        save_file({name: content[name] for name in NAMES if weight_map[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def merging(write: Callable[[Path], object], *options: str) -> Callable[[Path], list[str | Path]]:
    """The command line, where `write` makes the model `cars`; base, `signs` and an earlier merge are there."""

    def prepare(folder: Path) -> list[str | Path]:
        model(folder / "base", tensors(0))
        model(folder / "signs", tensors(1))
        model(folder / "merged", tensors(2))
        write(folder)
        (cars,) = folder.glob("cars*")
        return ["tatr", "merge-files", "base", "signs", cars.name, "--output", "again", *options]

    return prepare


def raw(content: bytes, name: str = "cars.safetensors") -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def headed(header: Any, data: bytes = b"") -> Callable[[Path], object]:  # noqa: ANN401
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return raw(len(text).to_bytes(8, "little") + text + data)


def one(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


def saved(content: dict[str, np.ndarray]) -> Callable[[Path], object]:
    return lambda folder: model(folder / "cars", content)


def shards(change: Callable[[Path], object]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        change(sharded(folder / "cars", 3))

    return write


def indexed(change: dict[str, Any]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        index = folder / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": json.loads(index.read_text())["weight_map"] | change}))

    return shards(write)


def cut(path: Path, count: int) -> None:
    path.write_bytes(path.read_bytes()[:count])


def zipped(*names: str, method: int = zipfile.ZIP_STORED) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        with zipfile.ZipFile(folder / "cars.pt", "w", method) as file:
            for name in names:
                file.writestr(name, bytes(2**20))

    return write


def adapter_folder(folder: Path) -> None:
    (folder / "cars").mkdir()
    save_file(
        {"base_model.model.layers.0.q.lora_A.weight": np.ones((2, 4), "f4")}, folder / "cars/adapter_model.safetensors"
    )
    (folder / "cars/adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')


def hub(main: str, *snapshots: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        for name in ("refs", "blobs", *(f"snapshots/{name}" for name in snapshots)):
            (folder / "cars--org" / name).mkdir(parents=True)
        if main:
            (folder / "cars--org/refs/main").write_text(main)

    return write


def dangling(folder: Path) -> None:
    (folder / "cars").mkdir()
    (folder / "cars/model.safetensors").symlink_to("../blobs/0a1b")


LORA = {"layers.0.q.lora_B": np.ones((4, 2), "f4")}
BAD = [
    BadInput("a pickled file", merging(zipped("archive/data.pkl")), ("cars.pt", "pickled", "save it as safetensors")),
    BadInput("a bare pickle", merging(raw(pickle.dumps({}), "cars.bin")), ("cars.bin", "pickled", "safetensors")),
    BadInput("a packed folder", merging(zipped("model.safetensors")), ("cars.pt", "a zip archive", "unpack it")),
    BadInput(
        "a pointer of Git LFS",
        merging(raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")),
        ("cars.safetensors", "Git LFS", "git lfs pull"),
    ),
    BadInput("a web page", merging(raw(b"<!DOCTYPE html>")), ("cars.safetensors", "a web page", "download")),
    BadInput("an empty file", merging(raw(b"")), ("cars.safetensors", "an empty file", "make it again")),
    BadInput("an interrupted download", merging(raw(bytes(999))), ("cars.safetensors", "zeros", "download")),
    BadInput("a quantised model", merging(raw(b"GGUF" + bytes(40))), ("cars.safetensors", "GGUF", "made from")),
    BadInput("half a file", merging(shards(lambda f: cut(f / SHARDS[1], 90))), (SHARDS[1], "bytes", "copy or make")),
    BadInput("an endless header", merging(raw(b"\xff" * 20)), ("cars.safetensors", "header", "copy or make")),
    BadInput("a deep header", merging(headed(b"[" * 90_000)), ("cars.safetensors", "nested too deeply", "copy")),
    BadInput(
        "a negative shape", merging(headed(one(shape=[-2]), bytes(8))), ("cars", "'a' has no valid shape", "copy")
    ),
    BadInput("a shape of thousands", merging(headed(one(shape=[9] * 9999), bytes(8))), ("cars", "'a'", "valid shape")),
    BadInput("an unknown type", merging(headed(one(dtype="F31"), bytes(8))), ("cars", "'a'", "unknown type 'F31'")),
    BadInput(
        "tensors that overlap",
        merging(headed(one() | {"b": one(data_offsets=[4, 12])["a"]}, bytes(12))),
        ("cars.safetensors", "'b' lies where it can't", "copy"),
    ),
    BadInput("metadata that is none", merging(headed({"__metadata__": [1]})), ("cars", "metadata is not text", "copy")),
    BadInput(
        "a shard that is missing", merging(shards(lambda f: (f / SHARDS[1]).unlink())), (SHARDS[1], "no such file")
    ),
    BadInput("an index of elsewhere", merging(indexed({"x": "../x.safetensors"})), ("index.json", "'../x.safe", "'x'")),
    BadInput(
        "an index of nothing", merging(indexed({"x": SHARDS[0]})), ("'x'", SHARDS[0], "lacks it", "copy the whole")
    ),
    BadInput(
        "an index of the wrong shard",
        merging(indexed({NAMES[0]: SHARDS[1]})),
        (NAMES[0], SHARDS[1], "lacks it", "copy"),
    ),
    BadInput(
        "two indices",
        merging(shards(lambda f: shutil.copy(f / "model.safetensors.index.json", f / "b.safetensors.index.json"))),
        ("cars", "2 models", "keep one"),
    ),
    BadInput(
        "no index", merging(shards(lambda f: (f / "model.safetensors.index.json").unlink())), (*SHARDS, "give one")
    ),
    BadInput("an adapter", merging(adapter_folder), ("cars", "adapter (LoRA)", "merge_and_unload")),
    BadInput("an adapter in a model", merging(saved(tensors(3) | LORA)), ("cars", "'layers.0.q.lora_B'", "merge_and")),
    BadInput("all tensors ignored", merging(saved(tensors(3)), "--ignore", "*"), ("base", "nothing to merge")),
    BadInput(
        "a compiled model",
        merging(saved(tensors(3, "_orig_mod."))),
        ("cars", "'_orig_mod.…'", "torch.compile", "rename"),
    ),
    BadInput(
        "a model in parallel", merging(saved(tensors(3, "module."))), ("cars", "'module.…'", "DataParallel", "rename")
    ),
    BadInput(
        "another architecture", merging(saved({"conv": np.ones(3, "f4")})), ("cars", "'conv'", "same architecture?")
    ),
    BadInput(
        "a resized vocabulary",
        merging(saved(tensors(3, **{NAMES[0]: np.ones((5, 4), "f4")}))),
        (NAMES[0], "[5, 4]", f"--ignore '{NAMES[0]}'"),
    ),
    BadInput(
        "a tensor too few", merging(saved(tensors(3, **{NAMES[0]: None}))), (NAMES[0], "missing in 'cars'", "--ignore")
    ),
    BadInput("NaN", merging(saved(tensors(3, **{NAMES[1]: np.full((4, 4), np.nan, "f4")}))), ("cars", NAMES[1], "NaN")),
    BadInput(
        "a pattern of nothing", merging(saved(tensors(3)), "--ignore", "head[0]"), ("head[0]", "no tensor is called so")
    ),
    *(
        BadInput(
            f"a weight of {weight}",
            merging(saved(tensors(3)), "--weight", "cars=2", "--weight", f"signs={weight}", *average),
            ("signs", weight, "expected a number from 1e-30 to 1e+30"),
        )
        for weight in ("1e-45", "1e+308")
        for average in ((), ("--method", "weight_average"))
    ),
    BadInput("a cache without its snapshot", merging(hub("0a1b", "2c3d")), ("cars--org", "'0a1b'", "download")),
    BadInput("a cache of two snapshots", merging(hub("", "0a1b", "2c3d")), ("0a1b, 2c3d", "give its folder")),
    BadInput("a link to nothing", merging(dangling), ("cars/model.safetensors", "missing", "download")),
    BadInput(
        "an output in a file",
        merging(saved(tensors(3)), "--output", "base/config.json/x"),
        ("base/config.json", "no folder"),
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_it_is_told(bad: BadInput, complaint: Complaint) -> None:
    assert "\n" not in complaint(bad)


def test_the_base_alone_is_no_merge(complaint: Complaint) -> None:
    """Copies in another form: in shards, or in half precision that loses nothing."""

    def write(folder: Path) -> list[str | Path]:
        model(folder / "base", {"w": np.ones((2, 2), "f4")})
        model(folder / "half", {"w": np.ones((2, 2), "f2")})
        return ["tatr", "merge-files", "base", "base", "half", "--output", "again"]

    bad = BadInput("the base", write, ("half ('half')", "Δ = 0", "nothing to merge"))
    complaint(bad)
