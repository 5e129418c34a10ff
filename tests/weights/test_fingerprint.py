"""What tells files of weights from one another at parse time."""

import os
from pathlib import Path

import numpy as np
import pytest

from tatr.errors import TatrError
from tatr.weights.fingerprint import EDGE, fingerprint


def written(path: Path, size: int, *changes: int) -> Path:
    content = bytearray(np.random.default_rng(0).bytes(size))
    for index in changes:
        content[index] ^= 1
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [1, 100, EDGE, EDGE + 5, 2 * EDGE, 2 * EDGE + 7, 3 * EDGE])
def test_equal_files_are_equal_whatever_their_names_and_times_are(tmp_path: Path, size: int) -> None:
    one, other = written(tmp_path / "a.pt", size), written(tmp_path / "b.bin", size)
    os.utime(other, (1, 1))
    assert fingerprint(one, "key") == fingerprint(other, "key")


@pytest.mark.parametrize("size", [100, EDGE + 5, 2 * EDGE, 3 * EDGE])
@pytest.mark.parametrize("index", [0, -1])
def test_a_changed_byte_at_either_end_is_noticed(tmp_path: Path, size: int, index: int) -> None:
    one, other = written(tmp_path / "a", size), written(tmp_path / "b", size, index)
    assert fingerprint(one, "key") != fingerprint(other, "key")


def test_up_to_twice_the_edge_every_byte_counts(tmp_path: Path) -> None:
    prints = {fingerprint(written(tmp_path / "a", 2 * EDGE, i), "key") for i in (0, EDGE - 1, EDGE, 2 * EDGE - 1)}
    assert len(prints) == 4


def test_another_length_is_noticed(tmp_path: Path) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    one.write_bytes(bytes(4 * EDGE))
    other.write_bytes(bytes(5 * EDGE))
    assert fingerprint(one, "key") != fingerprint(other, "key")


def test_a_folder_is_all_its_files(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        (folder / "nested").mkdir(parents=True)
        written(folder / "model-1.safetensors", 50)
        written(folder / "model-2.safetensors", 60)
    assert fingerprint(one, "key") == fingerprint(other, "key")
    written(other / "model-2.safetensors", 60, 30)
    assert fingerprint(one, "key") != fingerprint(other, "key")


def test_what_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(TatrError, match=r"^backbone\.weights: .*missing\.pt is no file, and no folder with files"):
        fingerprint(tmp_path / "missing.pt", "backbone.weights")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TatrError, match=r"empty is no file, and no folder with files"):
        fingerprint(tmp_path / "empty", "backbone.weights")


def test_a_repository_in_the_hubs_cache_is_its_snapshot(tmp_path: Path) -> None:
    for folder in ("refs", "blobs", "snapshots/0a1b"):
        (tmp_path / "models--a--b" / folder).mkdir(parents=True)
    written(tmp_path / "models--a--b/snapshots/0a1b/model.safetensors", 50)
    (tmp_path / "plain").mkdir()
    written(tmp_path / "plain/model.safetensors", 50)
    assert fingerprint(tmp_path / "models--a--b", "key") == fingerprint(tmp_path / "plain", "key")
