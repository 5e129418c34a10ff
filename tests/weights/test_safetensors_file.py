"""Safetensors files against the safetensors library: the same bytes out, the same values in, and damage told apart."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from tatr.digests import file_digest
from tatr.errors import TatrError
from tatr.weights.encoder_file import save_tensors
from tatr.weights.safetensors_file import SafetensorsFile, to_bytes, write_safetensors

Tensors = dict[str, np.ndarray]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.safetensors"


@pytest.mark.parametrize(
    "names",
    [
        ["b", "a.weight", "a", "Z"],
        ["größe", 'quo"te', "tab\there", "\x01", "é\u2028"],
        [],
        ["x" * n for n in range(1, 9)],
    ],
)
def test_float32_files_are_the_library_s_to_the_byte(path: Path, tmp_path: Path, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    shapes = [(2, 3), (), (0, 4), (5,)] * 2
    tensors = {name: rng.normal(size=shape).astype("f4") for name, shape in zip(names, shapes, strict=False)}
    shapes_of = {name: ("F32", tensor.shape) for name, tensor in sorted(tensors.items(), key=lambda t: t[0].encode())}
    digest = write_safetensors(path, shapes_of, [tensors[name] for name in shapes_of])
    assert digest == file_digest(path)
    save_tensors(tensors, path)
    safetensors.numpy.save_file(tensors, tmp_path / "theirs.safetensors")
    assert path.read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def some_tensors() -> dict[str, torch.Tensor]:
    values = torch.randn(6, 7, generator=torch.Generator().manual_seed(0)) * 1000
    floating = {str(t): values.to(t) for t in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}
    others = {str(t): values.to(t) for t in (torch.int64, torch.int32, torch.int16, torch.uint8, torch.float8_e4m3fn)}
    return floating | others | {"bool": values > 0, "scalar": torch.tensor(3.0), "none": torch.zeros(0, 2)}


def test_all_floating_types_are_widened_and_any_slice_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tatr.weights.safetensors_file.PIECE", 4)
    tensors = some_tensors()
    safetensors.torch.save_file(tensors, path)
    file = SafetensorsFile(path)
    assert file.entries.keys() == tensors.keys()
    for name, tensor in tensors.items():
        entry = file.entries[name]
        assert (entry.shape, entry.size) == (tuple(tensor.shape), tensor.numel())
        if not entry.is_floating:
            with pytest.raises(TatrError, match=rf"m\.safetensors: '{name}' is .*expected a floating-point type"):
                file.read(name)
            continue
        expected = tensor.float().numpy().reshape(-1)
        assert file.read(name).dtype == np.float32
        np.testing.assert_array_equal(file.read(name), expected)
        for part in (slice(3, 17), slice(0, 1), slice(41, 42), slice(5, 5)):
            np.testing.assert_array_equal(file.read(name, slice(*part.indices(len(expected)))), expected[part])
    for name in ("torch.int64", "torch.int16", "torch.uint8", "bool", "torch.float16", "none"):
        assert file.tensor(name).dtype == tensors[name].numpy().dtype
        np.testing.assert_array_equal(file.tensor(name), tensors[name].numpy())


def test_bytes_of_any_type_go_through_unchanged(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tatr.weights.safetensors_file.PIECE", 1)  # pieces of 16 bytes
    safetensors.torch.save_file(some_tensors(), path, {"format": "pt"})
    file = SafetensorsFile(path)
    assert file.metadata == {"format": "pt"}
    shapes = {name: (entry.dtype, entry.shape) for name, entry in file.entries.items()}
    parts = (piece for name in file.entries for piece in file.pieces(name))
    write_safetensors(tmp_path / "copy.safetensors", shapes, parts, file.metadata)
    assert (tmp_path / "copy.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("dtype", "theirs"), [("BF16", torch.bfloat16), ("F16", torch.float16), ("F64", torch.float64)]
)
def test_rounding_is_to_the_nearest_and_halves_to_even(dtype: str, theirs: torch.dtype) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, np.uint32)
    bits[:10_000] = bits[:10_000] & 0xFFFF0000 | 0x8000  # halfway between two of bfloat16
    values = bits.view(np.float32)
    values = values[np.abs(values) < 6e4] if dtype == "F16" else values[np.isfinite(values)]
    assert len(values) > 5_000
    found = to_bytes(values, dtype).tobytes()
    assert found == torch.from_numpy(values).to(theirs).view(torch.uint8).numpy().tobytes()


def header(text: str | bytes, data: bytes = b"") -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return len(raw).to_bytes(8, "little") + raw + data


def one(**changes: object) -> str:
    return json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes})


def two(first: list[int], second: list[int]) -> str:
    of = {"dtype": "F32", "shape": [2]}
    return json.dumps({"a": of | {"data_offsets": first}, "b": of | {"data_offsets": second}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x01", "too few for its header"),
        (b"\xff" * 8 + b"{}", "too few for its header"),
        ((2**63).to_bytes(8, "little") + b"{}", "too few for its header, or that of 9,223,372,036,854,775,808 is"),
        (header("[]"), "no JSON object"),
        (header(b"\xff\xfe"), "codec can't decode"),
        (header("[" * 100_000), "nested too deeply"),
        (header('{"a": 1}'), "not subscriptable"),
        (header(one(), b"1234567"), "47 bytes|bytes where its header tells of"),
        (header(one(), b"123456789"), "bytes where its header tells of"),
        (header(one(shape=[3]), b"12345678"), "'a' lies where it can't"),
        (header(one(shape=[-2]), b"12345678"), "'a' has no valid shape"),
        (header(one(shape=[True, 2]), b"12345678"), "'a' has no valid shape"),
        (header(one(data_offsets=[1, 9]), b"123456789"), "'a' lies where it can't: bytes 1 to 9"),
        (header(one(dtype="F31"), b"12345678"), "'a' is of the unknown type 'F31'"),
        (header('{"a": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}, ' * 2 + '"b": 0}}'), "Expecting|Extra"),
        (header(one()[:-1] + ", " + one()[1:], b"12345678"), "a name occurs twice"),
        (header('{"__metadata__": {"a": 1}}'), "metadata is not text"),
        (header('{"__metadata__": ["a"]}'), "metadata is not text"),
        (header(r'{"__metadata__": {"a": "\ud800"}}'), "surrogates not allowed"),
        (header(one().replace('"a"', r'"\ud800"'), b"12345678"), "surrogates not allowed"),
        (header(one().replace('"a"', r'"a\n\u001b[2J"'), b"12345678"), r"'a\\n\\x1b\[2J' is no name of a tensor"),
        (header(one(shape={}), b"12345678"), "'a' has no valid shape"),
        (header(one(shape=[1] * 65), b"1234"), "'a' has no valid shape"),
        (header(one(shape=[2**62] * 60), b"12345678"), "'a' lies where it can't"),
        (header(one(shape=[2**80, 0]), b"12345678"), "'a' has no valid shape"),
        (header(one(dtype=["F32"]), b"12345678"), "unhashable"),
        (header('{"a": {"dtype": "F32", "shape": [2]}}', b"12345678"), "lacks 'data_offsets'"),
        (header(two([0, 8], [4, 12]), b"123456789012"), "'b' lies where it can't: bytes 4 to 12"),
        (header(two([0, 8], [0, 8]), b"12345678"), "'b' lies where it can't: bytes 0 to 8"),
    ],
)
def test_damaged_files_are_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(TatrError, match=rf"m\.safetensors: not a complete safetensors file \(.*({message})") as caught:
        SafetensorsFile(path)
    assert str(caught.value).endswith("copy or make it again")


def test_a_file_that_changes_while_it_is_read_is_refused(path: Path) -> None:
    save_tensors({"a": np.ones(1000, "f4")}, path)
    file = SafetensorsFile(path)
    with path.open("r+b") as changed:
        changed.truncate(500)
    with pytest.raises(TatrError, match="has changed while it was read"):
        file.read("a")
    path.unlink()
    with pytest.raises(TatrError, match=r"m\.safetensors: can't be read \(No such file"):
        file.read("a")


def test_no_file_stays_open(path: Path) -> None:
    save_tensors({"a": np.ones(10, "f4")}, path)
    before = len(list(Path("/dev/fd").iterdir()))
    files = [SafetensorsFile(path) for _ in range(50)]
    assert [float(file.read("a").sum()) for file in files] == [10.0] * 50
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize("parts", [[b"1234567"], [b"1234", b"56789"]])
def test_what_does_not_fill_the_tensors_is_not_left_as_a_file(path: Path, parts: list[bytes]) -> None:
    with pytest.raises(ValueError, match="bytes for tensors of 8"):
        write_safetensors(path, {"a": ("F32", (2,))}, parts)
    assert list(path.parent.iterdir()) == []


def test_a_failure_keeps_the_file_that_was_there(path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"1234"
        raise OSError(28, "No space left on device")

    path.write_bytes(b"the former")
    with pytest.raises(OSError, match="No space left"):
        write_safetensors(path, {"a": ("F32", (2,))}, parts())
    assert path.read_bytes() == b"the former"
    assert list(path.parent.iterdir()) == [path]


def test_memory_is_that_of_a_piece(path: Path, tmp_path: Path) -> None:
    # Sparse: 1 GiB that takes no disk.
    with path.open("wb") as file:
        shape = {"a": {"dtype": "BF16", "shape": [2**29], "data_offsets": [0, 2**30]}}
        file.write(header(json.dumps(shape)))
        file.truncate(file.tell() + 2**30)
    tracemalloc.start()
    opened = SafetensorsFile(path)
    assert not opened.read("a", slice(2**28, 2**28 + 1000)).any()
    assert not next(opened.pieces("a")).any()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20
