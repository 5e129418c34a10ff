"""Files of weights with anything in them: they are read, or refused by our own error, and nothing is half done."""

import io
import json
import random
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file
from theirs import archive, tensor_program

from tatr import TatrError, merge_files
from tatr.weights.importing import read_clip
from tatr.weights.model_files import ModelFiles
from tatr.weights.safetensors_file import BITS, SafetensorsFile

NUMBERS = st.integers(-4, 40) | st.sampled_from([2**31, 2**53, 2**63, 2**64, 10**30, -(10**20)])
ODD = st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=4)
ANY = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
SHAPES = st.lists(NUMBERS, max_size=4) | ANY
TYPES = st.sampled_from(sorted(BITS)) | ANY
TENSORS = st.fixed_dictionaries(
    {}, optional={"dtype": TYPES, "shape": SHAPES, "data_offsets": st.lists(NUMBERS, max_size=3) | ANY, "more": ANY}
)
HEADERS = (
    st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "\ud800", "", "\n"]), TENSORS | ANY, max_size=4) | ANY
)


@contextmanager
def room() -> Iterator[Path]:
    """An empty folder for each example."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def headed(text: bytes, data: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + data


@contextmanager
def read_or_refused(where: Path) -> Iterator[None]:
    """Whatever happens within is success, or our error: one line that names a file."""
    try:
        yield
    except TatrError as error:
        assert str(where) in str(error)
        assert "\n" not in str(error)


def read_all(path: Path) -> None:
    file = SafetensorsFile(path)
    for name, entry in file.entries.items():
        assert sum(piece.size for piece in file.pieces(name)) == entry.nbytes
        if entry.is_floating:
            assert file.read(name).shape == (entry.size,)


@given(HEADERS, st.binary(max_size=24))
def test_headers_of_safetensors(header: Any, data: bytes) -> None:  # noqa: ANN401
    with room() as folder:
        path = folder / "x.safetensors"
        path.write_bytes(headed(json.dumps(header).encode(), data))
        with read_or_refused(path):
            read_all(path)


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(sorted(BITS)), max_size=3), st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3), st.data()
)
def test_headers_that_are_nearly_right(kinds: list[str], changes: list[tuple[int, int]], data: st.DataObject) -> None:
    """Right ones are read, and those with a number or two changed are refused, or mean something else."""
    header: dict[str, Any] = {}
    end = 0
    for number, kind in enumerate(kinds):
        shape = data.draw(st.lists(st.integers(0, 4), max_size=2)) if BITS[kind] % 8 == 0 else [8]
        stop = end + int(np.prod(shape, dtype=int)) * BITS[kind] // 8
        header[f"t{number}"] = {"dtype": kind, "shape": shape, "data_offsets": [end, stop]}
        end = stop
    with room() as folder:
        path = folder / "x.safetensors"
        path.write_bytes(headed(json.dumps(header).encode(), bytes(end)))
        read_all(path)
        for tensor, (at, number) in zip(header.values(), changes, strict=False):
            place = [*tensor["shape"], *tensor["data_offsets"]]
            place[at % len(place)] = number
            tensor["shape"], tensor["data_offsets"] = place[:-2], place[-2:]
        path.write_bytes(headed(json.dumps(header).encode(), bytes(end)))
        with read_or_refused(path):
            read_all(path)


def mutated(content: bytes, seed: int) -> bytes:
    """A few bytes changed, taken away or put in, or the end cut off."""
    rng, changed = random.Random(seed), bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) or 1)
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                changed[at : at + 1] = bytes([changed[at] ^ (1 << rng.randrange(8))]) if changed else b""
            case 2:
                del changed[at : at + rng.randint(1, 9)]
            case 3:
                changed[at:at] = rng.choice([rng.randbytes(3), bytes(changed[at : at + 30]), b"\xff" * 8])
            case 4:
                del changed[max(at, len(changed) // 2) :]
    return bytes(changed)


SEEDS = st.integers(0, 2**32)
WEIGHTS = {"a.weight": np.arange(6, dtype="f4").reshape(2, 3), "b": np.arange(3, dtype="f2"), "n": np.arange(2)}


@given(SEEDS)
def test_mutated_safetensors_are_merged_or_refused(seed: int) -> None:
    with room() as folder:
        tuned = {name: tensor + 1 if name != "n" else tensor for name, tensor in WEIGHTS.items()}
        save_file(WEIGHTS, folder / "base.safetensors")
        (folder / "cars.safetensors").write_bytes(mutated(save(tuned), seed))
        before = sorted(folder.iterdir())
        try:
            merge_files(folder / "base.safetensors", [folder / "cars.safetensors"], folder / "out")
        except TatrError as error:
            assert str(folder) in str(error) or "'" in str(error)
            assert sorted(folder.iterdir()) == before
        else:
            read_all(folder / "out/base.safetensors")


WEIGHT_MAPS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "", "\n"]),
    st.sampled_from(["one.safetensors", "two.safetensors", "../x", "", ".", "..", "no", "/", "a\0b", "é"]) | ODD,
    max_size=4,
)


@given(
    st.fixed_dictionaries({}, optional={"weight_map": WEIGHT_MAPS | ANY, "metadata": ANY}) | ANY, SEEDS, st.booleans()
)
def test_indices(content: Any, seed: int, mutate: bool) -> None:  # noqa: ANN401
    with room() as folder:
        save_file({"a": WEIGHTS["b"]}, folder / "one.safetensors")
        save_file({"b": WEIGHTS["b"]}, folder / "two.safetensors")
        text = json.dumps(content).encode()
        (folder / "model.safetensors.index.json").write_bytes(mutated(text, seed) if mutate else text)
        for read in (ModelFiles, read_clip):
            with read_or_refused(folder):
                read(folder)


def torch_saved(zipped: bool) -> bytes:
    state = {"visual.conv1.weight": torch.arange(12.0).reshape(1, 3, 2, 2), "visual.class_embedding": torch.ones(2)}
    raw = io.BytesIO()
    kept = {"model": state, "epoch": 3, "args": {"rate": 0.1, "path": "x", "more": [1, (2, None)]}}
    torch.save(kept, raw, _use_new_zipfile_serialization=zipped)
    return raw.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
def test_mutated_checkpoints(zipped: bool) -> None:
    content = torch_saved(zipped)

    @settings(max_examples=100)
    @given(SEEDS)
    def examine(seed: int) -> None:
        with room() as folder:
            (folder / "x.pt").write_bytes(mutated(content, seed))
            with read_or_refused(folder / "x.pt"):
                read_clip(folder / "x.pt")
            assert [path.name for path in folder.iterdir()] == ["x.pt"]

    examine()


def pickles() -> list[bytes]:
    """Programs whose archive is whole, so that nothing but the program is wrong."""
    with zipfile.ZipFile(io.BytesIO(torch_saved(True))) as file:
        own = next(file.read(name) for name in file.namelist() if name.endswith("data.pkl"))
    return [own, tensor_program()]


@pytest.mark.parametrize("number", [0, 1])
def test_mutated_programs(number: int) -> None:
    program = pickles()[number]
    storages = {"0": bytes(48), "1": bytes(8)}

    @settings(max_examples=150)
    @given(SEEDS)
    def examine(seed: int) -> None:
        with room() as folder:
            archive(folder / "x.pt", mutated(program, seed), storages)
            with read_or_refused(folder / "x.pt"):
                read_clip(folder / "x.pt")

    examine()
