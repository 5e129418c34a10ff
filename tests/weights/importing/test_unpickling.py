"""Nothing that a file says is run; given to `torch.load`, the same files do run it."""

import copyreg
import io
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from theirs import Weights, archive, tensor_program, tensors
from torch import nn

from tatr.errors import TatrError
from tatr.weights.importing import facts, read_clip, unpickling
from tatr.weights.importing.archives import Storage, storage_of
from tatr.weights.importing.torch_files import CALLS
from tatr.weights.importing.unpickling import Global, Inert, load


def line(text: str) -> bytes:
    return repr(text).encode() + b"\n"


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


PROGRAMS: dict[str, Callable[[str], bytes]] = {
    "GLOBAL and REDUCE": lambda c: b"cposix\nsystem\n(S" + line(c) + b"tR.",
    "STACK_GLOBAL": lambda c: b"\x80\x04" + short("posix") + short("system") + b"\x93" + short(c) + b"\x85R.",
    "STACK_GLOBAL of the memo": lambda c: (
        b"\x80\x04" + short("posix") + b"\x940" + short("system") + b"\x940h\x00h\x01\x93" + short(c) + b"\x85R."
    ),
    "INST": lambda c: b"(S" + line(c) + b"iposix\nsystem\n.",
    "OBJ": lambda c: b"(cposix\nsystem\nS" + line(c) + b"o.",
    "eval": lambda c: b"cbuiltins\neval\n(S" + line(f"__import__('os').system({c!r})") + b"tR.",
    "exec": lambda c: b"cbuiltins\nexec\n(S" + line(f"import os; os.system({c!r})") + b"tR.",
    "subprocess": lambda c: b"csubprocess\ngetoutput\n(S" + line(c) + b"tR.",
    "getattr chain": lambda c: (
        b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S" + line(c) + b"tR."
    ),
    "extension registry": lambda c: b"\x80\x02\x82\xf1" + b"X" + len(c).to_bytes(4, "little") + c.encode() + b"\x85R.",
    "in a persistent id": lambda c: b"((S'storage'\ncposix\nsystem\n(S" + line(c) + b"tRS'0'\nS'cpu'\nI1\ntQ.",
    "as the maker of a tensor": lambda c: (
        b"ctorch._tensor\n_rebuild_from_type_v2\n(cposix\nsystem\ncbuiltins\nint\n(S" + line(c) + b"t(dtR."
    ),
    "BUILD of a result": lambda c: b"cposix\nsystem\n(S" + line(c) + b"tR(dS'a'\nI1\nsb.",
}
"""Pickles that run a command."""


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (self.command,)


def test_nothing_runs_which_torch_would_have_run(
    tmp_path: Path, visual: Weights, pickled: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def command(name: str) -> str:
        return f"touch '{tmp_path / name}.ran'"

    copyreg.add_extension("posix", "system", 0xF1)
    copyreg._extension_cache[0xF1] = os.system  # as after a first pickle that used it
    try:
        for name, program in PROGRAMS.items():
            archive(tmp_path / f"{name}.pt", program(command(name)))
        # Within what is otherwise a whole model, in all three forms.
        module = pickled(visual)
        module.model.visual.extra = Evil(command("module"))
        torch.save(module, tmp_path / "module.pt")
        state = {**tensors(visual), "extra": Evil(command("state dict"))}
        torch.save(state, tmp_path / "state dict.pt")
        state["extra"] = Evil(command("legacy"))
        torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
        names = sorted(path.stem for path in tmp_path.glob("*.pt"))
        loaded = set(sys.modules)
        for name in names:
            try:
                read_clip(tmp_path / f"{name}.pt")
                facts(tmp_path / f"{name}.pt")
            except TatrError:
                assert name in PROGRAMS
        assert list(tmp_path.glob("*.ran")) == []
        assert {name for name in sys.modules if not name.startswith("encodings.")} <= loaded
    finally:
        copyreg.remove_extension("posix", "system", 0xF1)
    script = (
        "import copyreg, sys, torch; copyreg.add_extension('posix', 'system', 0xF1)\n"
        "for path in sys.argv[1:]:\n    try: torch.load(path, weights_only=False)\n    except Exception: pass\n"
    )
    subprocess.run([sys.executable, "-c", script, *map(str, tmp_path.glob("*.pt"))], cwd=tmp_path, check=True)
    # The fake classes of the module can't be found there; it runs into that first.
    assert sorted(path.stem for path in tmp_path.glob("*.ran")) == [name for name in names if name != "module"]


def test_a_module_with_something_evil_in_it_is_still_a_module(
    tmp_path: Path, visual: Weights, pickled: Callable[..., nn.Module]
) -> None:
    module = pickled(visual)
    module.evil = Evil(f"touch {tmp_path / 'ran'}")
    module.model.visual.evil = {"deep": [Evil(f"touch {tmp_path / 'ran'}")]}
    torch.save(module, tmp_path / "finetuned.pt")
    found = read_clip(tmp_path / "finetuned.pt")
    np.testing.assert_array_equal(found["visual.proj"], visual["visual.proj"])
    assert not (tmp_path / "ran").exists()


def run(program: bytes) -> object:
    return load(io.BytesIO(program), {}, lambda identifier: ("storage", identifier), "x.pt")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_what_pickle_makes_of_them(protocol: int) -> None:
    value = {
        "a": [1, -3, 2**40, 2**3000, 1.5, None, True, False],
        "b": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "c": {"é": "ü\n", 3: "x" * 300, 4: {}},
        "d": [[], "again", "again"],
    }
    value["d"].append(value["a"])  # type: ignore[attr-defined]
    assert run(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_objects_are_inert(protocol: int) -> None:
    found = run(pickle.dumps([Evil, slice(1, 2), Path("a"), Evil("x"), nn.GELU()], protocol))
    assert isinstance(found, list)
    assert found[0] == Global(f"{__name__}.Evil")
    assert all(type(item) is Inert for item in found[1:])
    assert found[3].args == ("x",)
    assert found[4].attributes["training"] is True


def test_keys_that_can_not_be_hashed_without_end() -> None:
    """A tuple within a tuple, and so on: Python's own hash of it would overflow the stack."""
    assert run(b"})" + b"\x85" * 100_000 + b"Ns.") == {}


def test_frozensets_and_sets_are_not_hashed() -> None:
    for program in (b"(" + b")" + b"\x85" * 100_000 + b"\x91.", b"\x8f(" + b")" + b"\x85" * 100_000 + b"\x90."):
        assert isinstance(run(program), Inert)


def test_a_tensor_keeps_the_bounds_that_were_checked(tmp_path: Path) -> None:
    """BUILD would set any attribute of it, and the tensor would reach beyond its storage."""
    built = tensor_program()[:-1].replace(b"tRs", b"tR}S'offset'\nI1000000\nsbs") + b"."
    assert built.count(b"sbs") == 2
    archive(tmp_path / "x.pt", built, {"0": np.arange(4, dtype="<f4").tobytes()})
    np.testing.assert_array_equal(read_clip(tmp_path / "x.pt")["visual.conv1.weight"], [[0, 1], [2, 3]])


def test_nothing_that_a_pickle_names_is_changed() -> None:
    """BUILD sets attributes: of a function of ours, it would change what the next pickle gets."""
    calls = {"a.f": lambda: 1}
    program = b"ca\nf\n(N}" + short("__defaults__") + b"(I1\ntstb0ca\nf\n)R."
    assert load(io.BytesIO(program), calls, repr, "x.pt") == 1
    assert calls["a.f"].__defaults__ is None


@pytest.mark.parametrize(
    "program",
    [
        b"Nr\xff\xff\xff\x7f.",
        b"Np2147483647\n.",
        b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".",
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b".",
        b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b".",
        b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.",
        b"\x8b" + (2**30).to_bytes(4, "little") + b".",
        b"(" + b"N" * 50_000 + b"t\x940" + b"cx\ny\nh\x00R0" * 5_000 + b"N.",
        b"(" + b"N" * 50_000 + b"t\x94\x85\x940" + b"ca\nlist\nh\x01R0" * 5_000 + b"N.",
        b"X\x50\xc3\0\0" + b"x" * 50_000 + b"\x94" + b"h\x00h\x00\x93" * 1_000 + b".",
        b"\x8f" * 80_000 + b".",
    ],
    ids=[
        *("memo", "memo as text", "bytearray", "bytes", "text", "frame", "number", "noted arguments", "arguments"),
        *("names", "sets"),
    ],
)
def test_what_a_pickle_claims_takes_no_memory(program: bytes) -> None:
    tracemalloc.start()
    try:
        load(io.BytesIO(program), {"a.list": list}, repr, "x.pt")
    except TatrError as error:
        assert "\n" not in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10 * 2**20


@pytest.mark.parametrize("wrap", [b"%b", b"%b\x85", b"%b\x85\x85"], ids=["arguments", "an argument", "nested"])
def test_calls_are_given_a_limited_number_of_entries(wrap: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long tuple is written once and given to a function again and again."""
    monkeypatch.setattr(unpickling, "_MOST_HANDED", 2**16)
    given = 0

    def take(*args: object) -> None:
        nonlocal given
        given += len(args) + sum(len(arg) for arg in args if isinstance(arg, tuple))

    calls = {"a.take": take}
    program = b"(" + b"N" * 5_000 + b"t\x940" + (b"ca\ntake\n" + wrap % b"h\x00" + b"R0") * 100 + b"N."
    if wrap.count(b"\x85") == 2:  # entries of an argument's entries: none of our functions may go through them
        assert load(io.BytesIO(program), calls, repr, "x.pt") is None
        assert given == 200
        return
    with pytest.raises(TatrError, match="its calls are given more than a checkpoint has"):
        load(io.BytesIO(program), calls, repr, "x.pt")
    assert 2**15 < given <= 2**16


def test_dicts_are_not_made_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """From pairs that are written once; also not by the function that makes tensors of other classes."""
    monkeypatch.setattr(unpickling, "_MOST_HANDED", 2**16)
    pairs = b"(" + b"".join(short(f"{i}") + b"N\x86" for i in range(20_000)) + b"t\x85\x940"
    ordered, of_type = b"ccollections\nOrderedDict\n", b"ctorch._tensor\n_rebuild_from_type_v2\n"
    assert len(load(io.BytesIO(pairs + ordered + b"h\x00R."), CALLS, repr, "x.pt")) == 20_000
    with pytest.raises(TatrError, match="its calls are given more than a checkpoint has"):
        load(io.BytesIO(pairs + (ordered + b"h\x00R0") * 300 + b"N."), CALLS, repr, "x.pt")
    for function in (ordered, of_type, b"ctorch\nSize\n"):
        with pytest.raises(TatrError, match="a tensor that no function of PyTorch makes"):
            load(io.BytesIO(pairs + of_type + b"(" + function + b"Nh\x00NtR."), CALLS, repr, "x.pt")


def test_a_tensor_with_attributes_of_its_own_is_read(tmp_path: Path, visual: Weights) -> None:
    parameter = nn.Parameter(torch.tensor(visual["visual.proj"]))
    parameter.note = "of the projection"  # type: ignore[attr-defined]
    state: dict[str, object] = {**tensors(visual), "visual.proj": parameter}
    torch.save(state, tmp_path / "x.pt")
    np.testing.assert_array_equal(read_clip(tmp_path / "x.pt")["visual.proj"], visual["visual.proj"])


def test_persistent_ids_of_any_length_are_no_storages() -> None:
    """Whose further members would be gone through for each of them."""
    identifier = ("storage", Global("torch.FloatStorage"), "0", "cpu", 4)
    assert storage_of(identifier) == storage_of((*identifier, None)) == Storage("0", "FloatStorage", 4)
    for further in ((None, None), (("1", 0, 4),)):
        assert isinstance(storage_of((*identifier, *further)), Inert)


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"N",
        b"(.",
        b"R.",
        b"]N",
        b"h\x05.",
        b"N(NNu.",
        b"NNNs.",
        b"\x80\x04\x97.",
        b"NN\x93.",
        b"}(Nu.",
    ],
)
def test_programs_that_no_pickler_writes(program: bytes) -> None:
    with pytest.raises(TatrError, match=r"x\.pt: its pickle is damaged .*; copy or save it again"):
        run(program)
