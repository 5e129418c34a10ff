"""A decoding that was killed resumes after its last whole shard, and makes the same store; it trusts nothing else."""

import json
import logging
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tatr.data import decoding, image_store
from tatr.data.decoding import JOURNAL, Decoding, write_pictures
from tatr.data.image_store import SPLITS, digest_images
from tatr.errors import TatrError
from tatr.workflow.artefact import FILE
from tatr.workflow.code_digest import SCRIPTS
from tatr.workflow.verification import problems

LENGTHS = {"train": 30, "validation": 8, "test": 13}
"""Shards of 8: four, one and two."""


class Noise:
    """Pictures that take note of being decoded; one of them cannot be decoded for lack of memory."""

    def __init__(self, split: str, count: int, fails: int = -1, broken: Sequence[int] = ()) -> None:
        self.labels, self.decoded = np.arange(count) % 3, list[int]()
        self.split, self.fails, self.broken = split, fails, broken

    def __len__(self) -> int:
        return len(self.labels)

    def decode(self, index: int) -> Image.Image:
        self.decoded.append(index)
        if index == self.fails:
            raise MemoryError
        if index in self.broken:
            raise OSError("image file is truncated")
        noise = np.random.default_rng([index, len(self.split)]).integers(0, 256, (4, 4, 3), np.uint8)
        return Image.fromarray(noise)

    def where(self, index: int) -> str:
        return f"{self.split} {index}"


Attempt = Callable[..., tuple[str, dict[str, list[int]]]]


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """Write a store; returns its digest and which pictures of each split were decoded."""
    monkeypatch.setattr(image_store, "SHARD", 8)
    monkeypatch.setattr(image_store, "CHUNK", 4)

    def run(fails: tuple[str, int] | None = None, key: str = "key", saved: str = "saved", **other: Noise) -> tuple:
        pictures = {s: Noise(s, n, fails[1] if fails and fails[0] == s else -1) for s, n in LENGTHS.items()} | other
        shutil.rmtree(tmp_path / "mine", ignore_errors=True)
        (tmp_path / "mine").mkdir()
        how = Decoding("mine", 4, unreadable="skip")
        digest, counts = write_pictures(pictures, ["a", "b", "c"], how, tmp_path / "mine", tmp_path / saved, key)
        assert digest == digest_images(tmp_path / "mine" / "images.zarr")
        assert sum(counts[split] + len(counts["skipped"][split]) for split in SPLITS) == sum(
            map(len, pictures.values())
        )
        return digest, {split: sorted(p.decoded) for split, p in pictures.items()}

    return run


@pytest.fixture
def undisturbed(attempt: Attempt) -> str:
    digest, decoded = attempt(saved="other")
    assert {split: len(indices) for split, indices in decoded.items()} == LENGTHS
    return digest


@pytest.fixture
def stopped(attempt: Attempt, undisturbed: str, tmp_path: Path) -> Path:
    """What a job left that stopped in the third shard of its training images."""
    with pytest.raises(MemoryError):
        attempt(("train", 20))
    return tmp_path / "saved"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("fails", "left"),
    [
        (("train", 3), (30, 8, 13)),
        (("train", 29), (6, 8, 13)),
        (("validation", 0), (0, 8, 13)),
        (("test", 12), (0, 0, 5)),
    ],
)
def test_it_goes_on_after_the_last_whole_shard(
    attempt: Attempt, undisturbed: str, fails: tuple[str, int], left: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(MemoryError):
        attempt(fails)
    digest, decoded = attempt()
    assert digest == undisturbed
    assert tuple(len(decoded[split]) for split in SPLITS) == left
    assert warnings(caplog) == []


def test_what_the_next_job_finds_is_whole_shards_alone(attempt: Attempt, undisturbed: str, stopped: Path) -> None:
    store = stopped / "images.zarr"
    half = store / "train" / "images" / "c" / "2" / "0" / "0" / "0"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half a shard")
    half.with_name("0.1234.partial").write_bytes(b"what a killed write left")
    (store / "zarr.json").write_text("{")
    digest, decoded = attempt()
    assert digest == undisturbed
    assert decoded["train"] == list(range(16, 30))
    assert not list((stopped.parent / "mine").rglob("*.partial"))


def torn(saved: Path) -> None:
    with (saved / JOURNAL).open("a") as file:
        file.write('{"split": "tr')


def damaged_shard(saved: Path) -> None:
    shard = saved / "images.zarr" / "train" / "images" / "c" / "1" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-1])


def missing_shard(saved: Path) -> None:
    shutil.rmtree(saved / "images.zarr" / "train" / "images" / "c" / "0")


def swapped(saved: Path) -> None:
    first, second = (saved / "images.zarr" / "train" / "images" / "c" / n / "0" / "0" / "0" for n in ("0", "1"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def no_journal(saved: Path) -> None:
    (saved / JOURNAL).unlink()


def no_text(saved: Path) -> None:
    (saved / JOURNAL).write_bytes(b"\xff\xfe\x00")


def other_fields(saved: Path) -> None:
    lines = (saved / JOURNAL).read_text().splitlines()
    (saved / JOURNAL).write_text("\n".join([lines[0], json.dumps({**json.loads(lines[1]), "more": 1})]))


@pytest.mark.parametrize(
    ("damage", "done"),
    [
        (torn, 16),
        (damaged_shard, 8),
        (missing_shard, 0),
        (swapped, 0),
        (no_journal, 0),
        (no_text, 0),
        (other_fields, 0),
    ],
)
def test_what_is_damaged_is_made_again(
    attempt: Attempt,
    undisturbed: str,
    stopped: Path,
    damage: Callable[[Path], None],
    done: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(stopped)
    digest, decoded = attempt()
    assert digest == undisturbed
    assert decoded["train"] == list(range(done, 30))
    (warning,) = warnings(caplog)
    assert str(stopped) in warning


def test_the_state_of_another_job_is_not_gone_on_from(
    attempt: Attempt, undisturbed: str, stopped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest, decoded = attempt(key="other")
    assert digest == undisturbed
    assert len(decoded["train"]) == 30
    (warning,) = warnings(caplog)
    assert "of another job" in warning


@pytest.mark.parametrize("what", ["an image went", "a label changed", "Pillow changed"])
def test_nor_is_that_of_other_images_or_another_decoder(
    attempt: Attempt, stopped: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Noise("train", 29 if what == "an image went" else 30)
    if what == "a label changed":
        train.labels[29] = 0
    if what == "Pillow changed":
        monkeypatch.setattr(decoding.PIL, "__version__", "1.1.7")
    _, decoded = attempt(train=train)
    assert decoded["train"] == list(range(len(train)))


def test_what_was_left_out_before_the_kill_is_still_counted(attempt: Attempt, tmp_path: Path) -> None:
    """Of 200 pictures two may be left out, of which one was before the kill; a third is too many."""
    long = [Noise("train", 200, fails, (3, 150)) for fails in (100, -1)]
    digest, _ = attempt(train=Noise("train", 200, -1, (3, 150)), saved="other")
    with pytest.raises(MemoryError):
        attempt(train=long[0])
    again, decoded = attempt(train=long[1])
    assert again == digest
    assert decoded["train"][:2] == [3, 97]  # is the one left out still broken? then on, after twelve shards of eight
    with pytest.raises(MemoryError):
        attempt(train=Noise("train", 200, 100, (3, 150, 180)), saved="third")
    with pytest.raises(TatrError, match=r"train 150.*train 180.*more than 1% of the 221 images"):
        attempt(train=Noise("train", 200, -1, (3, 150, 180)), saved="third")


def test_the_last_image_may_be_left_out_after_a_full_shard(attempt: Attempt) -> None:
    broken, shorter = Noise("train", 105, broken=(104,)), Noise("train", 104)
    assert attempt(train=broken)[0] == attempt(train=shorter, key="other", saved="other")[0]


def test_a_picture_fixed_since_is_no_longer_left_out(attempt: Attempt, caplog: pytest.LogCaptureFixture) -> None:
    broken, fixed = Noise("train", 200, broken=(12,)), Noise("train", 200)
    for train in (broken, fixed):
        train.labels[:] = np.arange(200) == 12
    with pytest.raises(TatrError, match="no training image of class 'b'"):
        attempt(train=broken)
    caplog.clear()
    _, decoded = attempt(train=fixed)
    assert decoded["train"] == sorted([12, *range(8, 200)])
    (warning,) = warnings(caplog)
    assert "an image was left out of shard 1 of train, but is readable now" in warning


RUNNER = """
import os, runpy, signal, sys
sys.path.insert(0, sys.argv[1])
from tatr.data import decoding, image_store
image_store.SHARD, image_store.CHUNK = 8, 4
digests, file_digest, at = [], decoding.file_digest, int(sys.argv[3])

def kill(path):
    digests.append(path)
    if len(digests) == at:  # this shard is written, but not yet in the journal
        os.kill(os.getpid(), signal.SIGKILL)
    return file_digest(path)

decoding.file_digest, target, sys.argv[:3] = kill, sys.argv[2], []
runpy.run_path(target, run_name="__main__")
"""


def test_a_killed_command_goes_on_and_makes_the_same_bytes(tmp_path: Path) -> None:
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(25):
            noise = np.random.default_rng([label, i]).integers(0, 256, (9, 12, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "data" / name / f"{i}.png")
    settings = dict.fromkeys(("source_classnames", "counts", "lists", "limit"))
    settings |= {"task": "mine", "source": "folder", "root": str(tmp_path / "data"), "size": 8, "resize": "shortest"}
    settings |= {"test_fraction": 0.2, "validation_fraction": 0.1, "unreadable": "stop"}
    results = tmp_path / "results"

    def run(name: str, killed_at: int) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", RUNNER, SCRIPTS, SCRIPTS / "images.py", killed_at, "--threads", 2]
        line += ["--settings", json.dumps(settings), "--output", results / name / FILE]
        return subprocess.run([str(word) for word in line], capture_output=True, text=True)

    done = run("undisturbed", 0)
    assert done.returncode == 0, done.stderr
    killed = run("x", 4)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = sorted(re.sub(r"-.*-\d+", "", path.name) for path in results.iterdir())
    assert left == ["undisturbed", "x.partial", "x.saved"]
    done = run("x", 0)
    assert done.returncode == 0, done.stderr
    assert "resuming after 24 images" in done.stderr
    assert {path.name for path in results.iterdir()} == {"undisturbed", "x"}
    assert list(problems(results / "x" / FILE)) == []
    stores = [results / name for name in ("undisturbed", "x")]
    contents = [
        {p.relative_to(s): p.read_bytes() for p in s.rglob("*") if p.is_file() and p.name != FILE} for s in stores
    ]
    assert contents[0] == contents[1]
    manifests = [json.loads((store / FILE).read_text()) for store in stores]
    assert manifests[0]["content"] == manifests[1]["content"]
    assert sorted(manifests[0]["content"]) == ["classnames.json", "images.json", "images.zarr"]
    counts = json.loads((results / "x" / "images.json").read_text())
    nothing = {"skipped": {split: [] for split in SPLITS}, "unused": {}}
    assert counts == {"train": 36, "validation": 4, "test": 10, **nothing}
