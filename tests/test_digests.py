"""Digests of files that are read anyway: those of the whole file, whoever follows whom."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xxhash

from tatr import digests
from tatr.digests import FollowingDigest, file_digest

CONTENT = np.random.default_rng(0).bytes(10_007)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(digests, "PIECE", 64)
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


@pytest.mark.parametrize("positions", [[], [10_007], [500, 100, 9000], [10**9]])
def test_it_is_the_digest_of_the_whole_file_wherever_readers_have_been(file: Path, positions: list[int]) -> None:
    digest = FollowingDigest(file)
    for position in positions:
        digest.follow(position)
    assert digest.hexdigest() == file_digest(file) == xxhash.xxh3_128(CONTENT).hexdigest()


def test_many_threads_may_be_followed(file: Path) -> None:
    digest = FollowingDigest(file)
    with ThreadPoolExecutor(8) as pool:
        [*pool.map(digest.follow, range(0, 10_007, 13))]
    assert digest.hexdigest() == file_digest(file)


def test_what_is_ahead_of_the_readers_is_not_read(file: Path) -> None:
    digest = FollowingDigest(file)
    digest.follow(100)
    file.write_bytes(CONTENT[:128] + b"changed" + CONTENT[135:])
    assert digest.hexdigest() == file_digest(file)
