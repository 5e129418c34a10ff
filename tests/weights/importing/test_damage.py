"""Damaged and deceitful files: what they claim is checked before it is believed, and only our own error comes out."""

import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from theirs import Weights, archive, tensor_program
from torch import nn

from tatr.errors import TatrError
from tatr.weights.importing import read_clip
from tatr.weights.importing.torch_files import TorchFile
from tatr.weights.importing.unpickling import Items


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


class Shared:
    """Objects that are pickled with one and the same state."""

    def __init__(self, state: dict[str, object]) -> None:
        self.state = state

    def __reduce__(self) -> tuple[type, tuple[()], dict[str, object]]:
        return SimpleNamespace, (), self.state


def doubled(leaf: object, depth: int) -> dict[str, object]:
    tree: dict[str, object] = {"a": leaf}
    for _ in range(depth):
        tree = {"a": tree, "b": tree}
    return tree


def test_a_dict_is_gone_through_a_few_times_however_many_ways_lead_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, path = 0, tmp_path / "x.pt"

    def counted(self: Items) -> Iterator[tuple[object, object]]:
        nonlocal looks
        for pair in dict.items(self):
            looks += 1
            yield pair

    monkeypatch.setattr(Items, "items", counted)
    others = {f"{i}": i for i in range(2_000)}
    torch.save(doubled({"t": torch.zeros(1), **others}, 8), path)
    assert len(TorchFile(path).names) == 2**8
    assert 2_000 < looks < 20_000
    looks = 0
    state = {**others, "t": torch.zeros(1)}
    torch.save({f"{i}": Shared(state) for i in range(500)}, path)
    assert len(TorchFile(path).names) == 500
    assert 2_000 < looks < 20_000


def test_members_that_lead_nowhere_count(tmp_path: Path) -> None:
    """An object that is followed once, in a dict under many names, to which many ways lead."""
    once = SimpleNamespace(t=torch.zeros(1))
    torch.save(doubled({f"{i}": once for i in range(10_000)}, 2), tmp_path / "x.pt")
    assert len(TorchFile(tmp_path / "x.pt").names) == 1
    torch.save(doubled({f"{i}": once for i in range(10_000)}, 12), tmp_path / "x.pt")
    with pytest.raises(TatrError, match="contain one another endlessly"):
        TorchFile(tmp_path / "x.pt")


def test_large_state_dicts_are_read(tmp_path: Path) -> None:
    """Tens of thousands of tensors are within all limits."""
    names = [f"model.visual.transformer.resblocks.{i}.attn.in_proj_weight" for i in range(60_000)]
    one = tensor_program().split(b"ctorch._utils", 1)[1][: -len(b"s.")].split(b"sS'", 1)[0]
    program = b"(d" + b"".join(b"S'%b'\nctorch._utils%bs" % (name.encode(), one) for name in names) + b"."
    archive(tmp_path / "x.pt", program, {"0": bytes(16)})
    assert TorchFile(tmp_path / "x.pt").names == names


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
