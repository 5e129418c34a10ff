"""Task vectors and images in files without a name: what is read back, and that nothing is left or held."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_problem import prepared

from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.training import banks
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
    monkeypatch.setattr(banks.torch, "empty", lambda size, **how: made.append(size) or empty(size, **how))
    whole = layout.Layout.of({"a": (1000,), "b": (500,)})
    with TaskVectorBank(tmp_path, [Watched(1500, asked)] * 8, whole, None, density) as bank:
        assert sum(1 for _ in bank.rows(whole.parameters[1])) == 8
    assert made == [1000]
    assert max(asked) == 1200
