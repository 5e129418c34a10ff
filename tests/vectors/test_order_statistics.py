"""Exact order statistics: by a good sample, by one that misleads, among equal values, of several vectors at once."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tatr.vectors import layout, order_statistics
from tatr.vectors.order_statistics import Ranked, nth_smallest, nth_smallest_of_each
from tatr.vectors.vector import mapped

TINY = float(np.finfo(np.float32).smallest_subnormal)
values = st.one_of(
    st.floats(0, width=32, allow_infinity=False), st.sampled_from([0.0, -0.0, TINY, 3 * TINY, 1.0, 1.0, 2.0])
)
vectors = arrays(np.float32, st.integers(1, 80), elements=values)


def expected(vector: np.ndarray, rank: int) -> Ranked:
    value = np.sort(vector)[rank]
    return Ranked(float(value), int((vector < value).sum()))


@given(vectors, st.data(), st.integers(1, 40), st.sampled_from([4, 16, 2**18]), st.sampled_from([0, 3, 2**24]))
def test_every_rank_is_that_of_the_sorted_vector(
    vector: np.ndarray, data: st.DataObject, block: int, sample: int, candidates: int
) -> None:
    ranks = data.draw(st.lists(st.integers(0, len(vector) - 1), min_size=1, max_size=4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        patch.setattr(order_statistics, "SAMPLE", sample)
        patch.setattr(order_statistics, "RUN", 2)
        patch.setattr(order_statistics, "CANDIDATES", candidates)
        assert nth_smallest(vector, ranks) == [expected(vector, rank) for rank in ranks]


class Tall:
    """A vector of which only whole blocks can be read, as of a store."""

    grain = layout.BLOCK

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        assert (block.start % self.grain, block.stop) in [(0, block.start + self.grain), (0, len(self.values))]
        return self.values[block]


def heavy_tailed(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.abs(rng.standard_normal(size, np.float32)) * rng.random(size, np.float32) ** 8


@pytest.mark.parametrize("store", [False, True])
def test_a_large_vector_is_ranked_in_one_counting_pass(store: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_statistics, "_by_histograms", None)  # the sample must not mislead here
    size = 2**21 + 77
    found = [heavy_tailed(size, seed) for seed in range(2)]
    wanted: Sequence[Sequence[int]] = [[size - size // 100, size // 2], [size - 5]]
    given = [Tall(vector) for vector in found] if store else found
    ranked = nth_smallest_of_each([mapped(np.abs, vector) for vector in given], wanted)
    assert ranked == [[expected(v, rank) for rank in its] for v, its in zip(found, wanted, strict=True)]


def test_a_sample_that_misleads_costs_passes_not_exactness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_statistics, "SAMPLE", 100)
    vector = heavy_tailed(100_000, 0)
    vector[:: 100_000 // 100 | 1] = 0  # just what is sampled
    for rank in (0, 1, 49_999, 99_000, 99_999):
        assert nth_smallest(Tall(vector), [rank]) == [expected(vector, rank)]


@pytest.mark.parametrize("many", [0.0, 1.0, 7.0])
def test_of_many_equal_values_none_is_kept_in_memory(many: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_statistics, "CANDIDATES", 1000)
    vector = heavy_tailed(50_000, 1)
    vector[np.random.default_rng(2).permutation(50_000)[:40_000]] = many
    for rank in (5, 20_000, 49_990):
        assert nth_smallest(vector, [rank]) == [expected(vector, rank)]
