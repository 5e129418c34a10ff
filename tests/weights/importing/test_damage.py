"""Damaged and deceitful files: what they claim is checked before it is believed, and only our own error comes out."""

import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from theirs import Weights, archive, tensor_program
from torch import nn

from tatr.errors import TatrError
from tatr.weights.importing import read_clip


def test_tensors_lie_within_their_storage(tmp_path: Path) -> None:
    path, raw = tmp_path / "x.pt", np.arange(4, dtype="<f4").tobytes()

    def read(program: bytes, raw: bytes = raw) -> np.ndarray:
        archive(path, program, {"0": raw})
        return read_clip(path)["visual.conv1.weight"]

    np.testing.assert_array_equal(read(tensor_program()), [[0, 1], [2, 3]])
    for program in (
        tensor_program(offset=1),
        tensor_program(numel=3),
        tensor_program(offset=-1),
        tensor_program(shape="I-2\nI-2\n"),
        tensor_program(shape="I2\n"),
        tensor_program(shape=f"I2\nI{2**40}\n"),
        tensor_program(shape=f"I2\nI{2**40}\n", strides="I0\nI0\n"),
        tensor_program(numel=2**60),
    ):
        with pytest.raises(TatrError, match=r"x.pt: its pickle is damaged \(a tensor"):
            read(program)
    with pytest.raises(TatrError, match="lies in a storage of 12 bytes, expected 16; copy or save"):
        read(tensor_program(), raw[:12])
    with pytest.raises(TatrError, match="lies in a storage of 16 bytes, expected 4,398,046,511,104"):
        read(tensor_program(numel=2**40))
    with pytest.raises(TatrError, match=r"'visual\.c.*' is stored as 'EvilStorage', expected a floating-point type"):
        read(tensor_program(storage="EvilStorage"))


def test_a_file_can_not_claim_more_than_it_holds(tmp_path: Path) -> None:
    """Many names for one storage, a compressed storage of zeros, an entry that is longer than the file."""
    path, count = tmp_path / "x.pt", 3000
    one = torch.zeros(64, 64)
    names = ["visual.conv1.weight", "visual.class_embedding", *(f"visual.{i}" for i in range(count))]
    torch.save(dict.fromkeys(names, one), path)
    with pytest.raises(TatrError, match="its tensors would have 49,184,768 bytes, but the file has only"):
        read_clip(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", tensor_program(), zipfile.ZIP_STORED)
        file.writestr("archive/data/0", bytes(2**22))
    with pytest.raises(TatrError, match="'archive/data/0' is compressed, which PyTorch never does"):
        read_clip(path)
    archive(path, tensor_program(), {"0": bytes(16)})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"archive/data/0"))
    content[entry + 20 : entry + 28] = (2**31).to_bytes(4, "little") * 2
    path.write_bytes(content)
    with pytest.raises(TatrError, match="'archive/data/0' claims 2,147,483,648 bytes"):
        read_clip(path)


def test_what_holds_itself_comes_to_an_end(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    loop: dict[str, object] = {}
    loop["a"] = loop
    archive(path, pickle.dumps(loop))
    with pytest.raises(TatrError, match="found no tensor at all"):
        read_clip(path)


def test_names_without_end_are_refused(tmp_path: Path) -> None:
    """40 levels that hold the next one twice: 2^40 names for one tensor, and none if there is no tensor."""
    path = tmp_path / "x.pt"
    for leaf, message in ((torch.zeros(1), "contain one another endlessly"), (None, "found no tensor at all")):
        tree: dict[str, object] = {"visual.proj": leaf}
        for _ in range(40):
            tree = {"a": tree, "b": tree}
        torch.save(tree, path)
        with pytest.raises(TatrError, match=message):
            read_clip(path)
    archive(path, chained(30_000), {"0": bytes(16)})
    with pytest.raises(TatrError, match="contain one another endlessly"):
        read_clip(path)


def chained(depth: int) -> bytes:
    """A dict in a dict, and so on, with one tensor at the end; PyTorch's own pickler would not get so deep."""
    return b"(dS'a'\n" * depth + tensor_program()[:-1] + b"s" * depth + b"."


def test_both_byte_orders(tmp_path: Path) -> None:
    archive(tmp_path / "x.pt", tensor_program(), {"0": np.arange(4, dtype=">f4").tobytes()})
    with zipfile.ZipFile(tmp_path / "x.pt", "a") as file:
        file.writestr("archive/byteorder", "big")
    np.testing.assert_array_equal(read_clip(tmp_path / "x.pt")["visual.conv1.weight"], [[0, 1], [2, 3]])


def outcome(path: Path) -> str:
    try:
        return "read" if read_clip(path) else "nothing"
    except TatrError as error:
        assert "\n" not in str(error)
        return "refused"


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_are_refused_or_read_and_nothing_else(
    tmp_path: Path, visual: Weights, pickled: Callable[..., nn.Module], legacy: bool
) -> None:
    path, chance = tmp_path / "x.pt", random.Random(0)
    torch.save(pickled(visual), path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    start = 0 if legacy else whole.index(b"\x80\x02")
    seen = set()
    for i in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.choice((1, 1, 4))):
            damaged[start + chance.randrange(6000 if i % 2 else len(whole) - start)] = chance.randrange(256)
        path.write_bytes(damaged if i % 5 else damaged[: chance.randrange(len(damaged))])
        seen.add(outcome(path))
    assert seen == {"read", "refused"} if legacy else {"refused"}


@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_damaged_pickles_in_whole_archives(tmp_path: Path, visual: Weights, pickled: Callable[..., nn.Module]) -> None:
    """The archive's checksum is right: what the pickle machine makes of it counts."""
    torch.save(pickled(visual), tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as file:
        program = file.read("whole/data.pkl")
        storages = {n.rpartition("/")[2]: file.read(n) for n in file.namelist() if n.startswith("whole/data/")}
    chance, seen = random.Random(1), set()
    for _ in range(150):
        damaged = bytearray(program)
        for _ in range(chance.choice((1, 3))):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        archive(tmp_path / "x.pt", bytes(damaged), storages)
        seen.add(outcome(tmp_path / "x.pt"))
    assert seen == {"read", "refused"}
