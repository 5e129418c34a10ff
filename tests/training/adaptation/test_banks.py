"""Task vectors and images in files without a name: what is read back, and that nothing is left or held.

And task vectors on a GPU, whose memory is faked.
"""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from small_problem import RECIPE, prepared

from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.training import row_bank
from tatr.training.adaptation import adapt
from tatr.training.banks import TaskVectorBank
from tatr.training.scratch import ImageBank
from tatr.vectors import layout


def test_pieces_of_any_size_make_the_same_bank(
    encoder: Encoder, vectors: np.ndarray, mask: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = prepared(encoder, vectors, mask, 0.3)
    for block in (100, 1000, 2**22):
        monkeypatch.setattr(layout, "BLOCK", block)
        with TaskVectorBank(tmp_path, [*vectors], encoder.layout, mask, 0.3) as bank:
            for parameter in encoder.layout.parameters:
                found = np.stack([row.numpy().copy() for row in bank.rows(parameter)])
                np.testing.assert_array_equal(found, expected[:, parameter.offset : parameter.stop])


def test_the_banks_leave_no_files_and_give_images_by_index(encoder: Encoder, tasks: list[Task], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with ImageBank(tmp_path, tasks, "test") as bank:
        assert sorted(tmp_path.rglob("*")) == before
        for number, task in enumerate(tasks):
            chosen = np.array([3, 0, 19, 3])
            np.testing.assert_array_equal(bank.images(number, chosen), task.unlabelled("test")[chosen])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bank_that_was_cut_short_is_not_read_as_the_row_before(
    encoder: Encoder, vectors: np.ndarray, tmp_path: Path
) -> None:
    with TaskVectorBank(tmp_path, [*vectors], encoder.layout) as bank:
        bank._file.truncate(4 * encoder.layout.size)
        with pytest.raises(OSError, match="a temporary file ends before byte"):
            list(bank.rows(encoder.layout.parameters[0]))


class Watched:
    """A vector of ones that notes how much is asked for at once."""

    def __init__(self, size: int, asked: list[int]) -> None:
        self.size, self.asked = size, asked

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        self.asked.append(block.stop - block.start)
        return np.ones(block.stop - block.start, np.float32)


@pytest.mark.parametrize("density", [None, 1.0])
def test_vectors_are_read_block_by_block_and_one_tensor_is_in_memory(
    density: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "BLOCK", 1200)
    made, asked, empty = [], [], torch.empty
    monkeypatch.setattr(row_bank.torch, "empty", lambda size, **how: made.append(size) or empty(size, **how))
    whole = layout.Layout.of({"a": (1000,), "b": (500,)})
    with TaskVectorBank(tmp_path, [Watched(1500, asked)] * 8, whole, None, density) as bank:
        assert sum(1 for _ in bank.rows(whole.parameters[1])) == 8
    assert made == [1000]
    assert max(asked) == 1200


def test_several_threads_read_images_at_a_time(encoder: Encoder, tasks: list[Task], tmp_path: Path) -> None:
    draws = [np.random.default_rng(seed).integers(0, 20, 50) for seed in range(40)]
    with ImageBank(tmp_path, tasks, "test") as bank, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda draw: bank.images(draw[0] % 3, draw), draws))
    for draw, images in zip(draws, found, strict=True):
        np.testing.assert_array_equal(images, tasks[draw[0] % 3].unlabelled("test")[draw])


def needed(encoder: Encoder, tasks: int) -> int:
    """Bytes of all task vectors on a GPU, where every tensor begins at a multiple of 512."""
    return sum(-(-4 * parameter.size // 512) * 512 for parameter in encoder.layout.parameters) * tasks


def rows_of(bank: TaskVectorBank, encoder: Encoder) -> list[bytes]:
    return [row.numpy().tobytes() for parameter in encoder.layout.parameters for row in bank.rows(parameter)]


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (10**6, True), (-1, False), (-(10**9), False)])
def test_a_gpu_keeps_the_task_vectors_if_they_fit(
    spare: int,
    fits: bool,
    encoder: Encoder,
    vectors: np.ndarray,
    mask: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(row_bank, "free_memory", lambda _: max(0, needed(encoder, len(vectors)) + spare))
    with (
        caplog.at_level(logging.INFO, "tatr"),
        TaskVectorBank(tmp_path, [*vectors], encoder.layout, mask, 0.3) as bank,
    ):
        before = rows_of(bank, encoder)
        bank.keep()
        (record,) = caplog.records
        assert ("kept on the GPU" if fits else "read anew each time") in record.getMessage()
        assert rows_of(bank, encoder) == before
        read: list[int] = []
        monkeypatch.setattr(bank, "_read", lambda offset, _: read.append(offset))
        rows = [row for parameter in encoder.layout.parameters for row in bank.rows(parameter)]
        assert (read == []) == fits
        assert not fits or {row.data_ptr() % 512 for row in rows} == {rows[0].data_ptr() % 512}
        assert {row.dtype for row in rows} == {torch.float32}


def test_without_a_gpu_nothing_is_kept_and_nothing_said(
    encoder: Encoder, vectors: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tatr"), TaskVectorBank(tmp_path, [*vectors], encoder.layout) as bank:
        bank.keep()
        assert bank._kept == {}
    assert caplog.records == []


def test_what_is_learnt_is_the_same_wherever_the_task_vectors_are(
    encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = json.dumps(adapt(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path))
    reads: list[int] = []
    for free in (0, 10**9):
        monkeypatch.setattr(row_bank, "free_memory", lambda _, free=free: free)
        read = TaskVectorBank._read
        with monkeypatch.context() as patch:
            patch.setattr(TaskVectorBank, "_read", lambda *given, read=read: reads.append(given[1]) or read(*given))
            assert json.dumps(adapt(encoder, [*vectors], None, tasks, RECIPE, "cpu", tmp_path)) == expected
    rows = len(vectors) * len(encoder.layout.parameters)
    # Merged and multiplied from the file in 3 iterations, or in the first one, and then once more to be kept.
    assert len(reads) == rows * (2 * 3 + 2 + 1)
