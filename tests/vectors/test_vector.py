"""Vectors that are computed when a slice is asked for: the same values however they are cut, in bounded memory."""

import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatr.errors import TatrError
from tatr.vectors import vector as vector_module
from tatr.vectors.store import StoredVector, write_vector
from tatr.vectors.vector import gives_new, grain, mapped, read, remembered, section, total, whole


class Watched:
    """A vector that counts how often it is read, and how much of it at most at once."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.reads, self.most = values, 0, 0

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        self.reads += 1
        self.most = max(self.most, block.stop - block.start)
        return self.values[block]


@given(st.integers(1, 6), st.integers(1, 50), st.integers(1, 9), st.data())
def test_any_slice_of_a_mapped_vector_is_that_slice_of_the_formula(
    count: int, size: int, piece: int, data: st.DataObject
) -> None:
    values = np.random.default_rng(size).normal(size=(count, size)).astype(np.float32)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    summed = mapped(lambda *parts: np.sum(parts, axis=0), *values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_module, "STRIP", piece)
        found = summed[start:stop]
    assert len(summed) == size
    np.testing.assert_array_equal(found, values.sum(axis=0)[start:stop])


def test_nothing_is_computed_before_it_is_asked_for_and_a_vector_given_twice_is_read_once() -> None:
    watched = Watched(np.arange(10, dtype=np.float32))
    squares = mapped(np.multiply, watched, watched)
    assert watched.reads == 0
    np.testing.assert_array_equal(squares[2:5], [4, 9, 16])
    assert (watched.reads, watched.most) == (1, 3)


def test_vectors_of_different_lengths_are_refused_before_anything_is_read() -> None:
    with pytest.raises(TatrError, match=r"vectors of 3, 1,000 entries can't be combined; .* different encoders"):
        mapped(np.add, Watched(np.zeros(1000)), Watched(np.zeros(3)))


def test_a_sum_holds_one_vector_at_a_time_and_a_formula_makes_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_module, "STRIP", 2**10)
    vectors = [Watched(np.ones(2**16, np.float32)) for _ in range(16)]
    doubled = total([mapped(lambda part: np.abs(part - 3) * 2 - 2, vector) for vector in vectors])
    tracemalloc.start()
    assert doubled[0 : 2**16].sum() == 2**16 * 32
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 4 * 2**16


class New(Watched):
    """A vector whose slices are the reader's own, as a file's are."""

    gives_new = True

    def __getitem__(self, block: slice, /) -> np.ndarray:
        self.last = super().__getitem__(block).copy()
        return self.last


@pytest.mark.parametrize("ufunc", [np.subtract, np.multiply, np.less, np.hypot])
def test_a_new_block_makes_place_for_the_result_and_another_is_left_alone(ufunc: np.ufunc) -> None:
    values, others = np.array([3, -1, 2], np.float32), np.array([1, 5, 2], np.float32)
    expected = ufunc(values, others)
    for first in (Watched(values.copy()), New(values.copy())):
        result = mapped(ufunc, first, others)
        found = result[0:3]
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(first.values, values)
        assert gives_new(result)
        if isinstance(first, New):
            assert np.shares_memory(found, first.last) == (ufunc is not np.less)


def test_what_a_store_gives_may_be_written_over_if_it_says_so(tmp_path: Path) -> None:
    for dtype in (np.float32, bool):
        values = np.array([1, 0, 1], dtype)
        write_vector(tmp_path / dtype.__name__, 3, "layout", [values], dtype)
        stored = StoredVector(tmp_path / dtype.__name__)
        assert stored[0:3].flags.writeable == gives_new(stored) == (dtype is np.float32)
        np.testing.assert_array_equal(mapped(np.logical_not, stored)[0:3], [False, True, False])
        np.testing.assert_array_equal(stored[0:3], values)


def test_a_remembered_block_is_left_alone() -> None:
    frozen = remembered(mapped(np.abs, New(np.array([-1, 2], np.float32))))
    for _ in range(2):
        np.testing.assert_array_equal(mapped(np.negative, frozen)[0:2], [-1, -2])


def test_a_sum_leaves_arrays_in_memory_alone() -> None:
    arrays = [np.ones(4, np.float32) for _ in range(3)]
    np.testing.assert_array_equal(total(arrays)[0:4], [3, 3, 3, 3])
    assert all((array == 1).all() for array in arrays)


def test_a_remembered_vector_is_read_once_per_block_and_its_block_cannot_be_changed() -> None:
    watched = Watched(np.arange(10, dtype=np.float32))
    base = remembered(mapped(np.copy, watched))
    for _ in range(3):
        np.testing.assert_array_equal(base[0:4], [0, 1, 2, 3])
    assert watched.reads == 1
    with pytest.raises(ValueError, match="read-only"):
        base[0:4][0] = 7
    np.testing.assert_array_equal(np.concatenate([*read(base)]), watched.values)
    assert len(base) == 10


def test_each_thread_remembers_its_own_block() -> None:
    watched = Watched(np.arange(10, dtype=np.float32))
    base = remembered(watched)
    asked = threading.Barrier(2)

    def reads(block: slice) -> np.ndarray:
        base[block]
        asked.wait()
        return base[block]

    with ThreadPoolExecutor(2) as pool:
        for found, block in zip(pool.map(reads, [slice(0, 4), slice(4, 8)]), [slice(0, 4), slice(4, 8)], strict=True):
            np.testing.assert_array_equal(found, watched.values[block])
    assert watched.reads == 2


def test_what_must_be_read_at_least_is_known_of_what_is_computed(tmp_path: Path) -> None:
    write_vector(tmp_path / "v", 5, "L", [np.ones(5, np.float32)])
    stored = StoredVector(tmp_path / "v")
    assert grain(np.ones(5)) == 1
    assert grain(mapped(np.add, np.ones(5), remembered(mapped(np.abs, stored)))) == grain(stored) == 5


def test_a_whole_vector_is_its_blocks(small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    values = np.arange(29, dtype=np.float32)
    np.testing.assert_array_equal(whole(mapped(np.copy, values)), values)
    np.testing.assert_array_equal(whole(mapped(lambda part: part > 3, values), bool), values > 3)


@given(st.integers(0, 50), st.integers(1, 9), st.data())
def test_a_section_is_read_by_blocks_each_once(size: int, block: int, data: st.DataObject) -> None:
    values = np.random.default_rng(size).normal(size=size).astype(np.float32)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    vector = Watched(values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_module, "BLOCK", block)
        found = section(vector, slice(start, stop))

    np.testing.assert_array_equal(found, values[start:stop])
    touched = max(1, -(-stop // block) - start // block)
    assert vector.reads == touched
    assert vector.most <= block
