"""What a file is that is no file of weights: told by its beginning, with what to do about it."""

from pathlib import Path

import pytest

from tatr.weights.file_kinds import KINDS, known_kind

OTHERS = {
    b"": "an empty file; ",
    bytes(3000): "a file of zeros, ",
    b"\n <!DOCTYPE HTML>": "a web page, ",
    bytes(257) + b"ustar": "a tar archive; ",
    b"PK\x05\x06" + bytes(18): "a zip archive; ",
    b"PK\x03\x04": "a zip archive that is damaged",
}


@pytest.mark.parametrize("start", KINDS, ids=repr)
def test_each_kind_is_told_by_how_it_begins(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(start + bytes(40))
    assert known_kind(tmp_path / "x") == KINDS[start]
    assert "; " in KINDS[start]  # and what to do


@pytest.mark.parametrize(("content", "told"), OTHERS.items(), ids=OTHERS.values())
def test_what_more_than_a_beginning_tells(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    kind = known_kind(tmp_path / "x")
    assert kind is not None and kind.startswith(told)
    assert "; " in kind


@pytest.mark.parametrize("content", [b"epoch 3\n", (0x80).to_bytes(8, "little") + b"{"])
def test_a_text_and_half_a_safetensors_file_are_of_no_other_kind(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    assert known_kind(tmp_path / "x") is None
