"""Digests of files that are read anyway: those of the whole file, whoever follows whom."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xxhash

from tatr import digests
from tatr.digests import FollowingDigest, file_digest

FEW = 100
CONTENT = np.random.default_rng(0).bytes(10_007)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(digests, "PIECE", 64)
    monkeypatch.setattr(digests, "FEW", FEW)
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


def follow(digest: FollowingDigest, start: int, stop: int) -> None:
    digest.follow(start, memoryview(CONTENT)[start:stop])


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [(0, 10_007)],
        [(100, 400), (400, 700), (700, 9000)],
        [(300, 600), (0, 300), (200, 800), (9000, 10_007)],
        [(10_000, 10_007), (3, 4)],
        [(0, 100), (50, 90), (90, 200), (100, 200)],
    ],
    ids=["never", "at once", "in order", "in any order", "the end first", "twice"],
)
def test_it_is_the_digest_of_the_whole_file_whatever_was_read(file: Path, spans: list[tuple[int, int]]) -> None:
    digest = FollowingDigest(file)
    for span in spans:
        follow(digest, *span)
    assert digest.hexdigest() == file_digest(file) == xxhash.xxh3_128(CONTENT).hexdigest()


def test_many_threads_may_be_followed(file: Path) -> None:
    digest = FollowingDigest(file)
    with ThreadPoolExecutor(8) as pool:
        [*pool.map(lambda start: follow(digest, start, start + 130), range(0, 10_007, 130))]
    assert digest.hexdigest() == file_digest(file)


def test_what_was_read_is_hashed_and_not_read_again(file: Path) -> None:
    digest = FollowingDigest(file)
    follow(digest, 0, 5000)
    follow(digest, 5000, 10_007)
    file.write_bytes(b"")  # nobody needs it any more
    assert digest.hexdigest() == xxhash.xxh3_128(CONTENT).hexdigest()


def test_what_is_ahead_of_the_readers_is_not_read(file: Path) -> None:
    digest = FollowingDigest(file)
    follow(digest, 10, 10 + FEW)
    file.write_bytes(CONTENT[:128] + b"changed" + CONTENT[135:])
    assert digest.hexdigest() == file_digest(file)


def test_what_lies_before_is_read_for_many_bytes_and_not_for_a_few(file: Path) -> None:
    few = FollowingDigest(file)
    follow(few, 1000, 1000 + FEW - 1)
    many = FollowingDigest(file)
    follow(many, 1000, 1000 + FEW)
    file.write_bytes(bytes(1000) + CONTENT[1000:])
    assert few.hexdigest() == file_digest(file)
    assert many.hexdigest() == xxhash.xxh3_128(CONTENT).hexdigest()
