"""Ties-Merging against its definition, entry by entry, and the elected entries that other modules build on."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Literal

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods.ties import elect
from tatr.vectors import layout as layout_module
from tatr.vectors.layout import Layout, blocks
from tatr.vectors.vector import Vector

# Few different values: equal magnitudes and sums that cancel exactly are then common.
few_values = st.sampled_from([-3.0, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0])
task_vectors = arrays(np.float32, st.tuples(st.integers(1, 5), st.just(31)), elements=few_values)
densities = st.integers(4, 100).map(lambda hundredths: hundredths / 100)
scopes = st.sampled_from(["model", "tensor"])
LAYOUT = Layout.of({"a": (2, 3), "b": (5,), "empty": (0, 2), "scale": (), "c": (1, 4, 4), "d": (3,)})

random_tasks = partial(drawn_tasks, count=4, size=31)


def merged(vectors: np.ndarray, block: int = 8, mask: np.ndarray | None = None, **settings: float | str) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "BLOCK", block)
        return whole_direction("ties", MergeInputs([*vectors], layout=LAYOUT), settings, mask=mask)


def kept_of(entries: list[float], density: float, least: int = 0) -> list[float]:
    """The ⌊density · n⌋ largest stay, and all that equal the smallest of them."""
    count = max(int(Fraction(str(density)) * len(entries)), least)
    smallest = sorted((abs(value) for value in entries), reverse=True)[count - 1]
    return [value if abs(value) >= smallest else 0.0 for value in entries]


def stated(vectors: np.ndarray, density: float, combine: str, scope: str) -> list[float]:
    rows = []
    for vector in vectors.tolist():
        if scope == "model":
            rows.append(kept_of(vector, density))
        else:
            there = [p for p in LAYOUT.parameters if p.size]
            parts = [kept_of(vector[p.offset : p.stop], density, least=1) for p in there]
            rows.append([value for part in parts for value in part])
    columns = list(zip(*rows, strict=True))
    votes = [(sum(column) > 0) - (sum(column) < 0) for column in columns]
    majority = (sum(votes) > 0) - (sum(votes) < 0)
    found = []
    for column, vote in zip(columns, votes, strict=True):
        agreeing = [value for value in column if value * (vote or majority) > 0]
        found.append(sum(agreeing) / (max(len(agreeing), 1) if combine == "mean" else 1))
    return found


@given(task_vectors, densities, st.sampled_from(["sum", "mean"]), scopes, st.integers(1, 40))
def test_ties_is_trim_elect_merge(vectors: np.ndarray, density: float, combine: str, scope: str, block: int) -> None:
    found = merged(vectors, block, density=density, combine=combine, scope=scope)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, stated(vectors, density, combine, scope), rtol=1e-6)


def test_the_defaults_are_a_fifth_one_threshold_per_task_and_the_sum() -> None:
    vectors = random_tasks()
    np.testing.assert_array_equal(merged(vectors), merged(vectors, density=0.2, combine="sum", scope="model"))
    np.testing.assert_allclose(merged(vectors), stated(vectors, 0.2, "sum", "model"), rtol=1e-5)


@pytest.mark.parametrize(("density", "count"), [(0.2, 6), (0.29, 8), (0.04, 1), (1, 31)])
def test_one_task_keeps_exactly_its_share_of_the_largest_entries(density: float, count: int) -> None:
    (vector,) = random_tasks(count=1)
    found = merged(vector[None], density=density)
    order = np.argsort(-np.abs(vector))
    np.testing.assert_array_equal(found[order[:count]], vector[order[:count]])
    assert not found[order[count:]].any()


def test_per_tensor_every_tensor_keeps_its_share_and_at_least_one_entry() -> None:
    (vector,) = random_tasks(count=1)
    vector[:6] /= 1000  # one threshold for the model would keep nothing of the first tensor
    found = merged(vector[None], density=0.2, scope="tensor")
    assert [np.count_nonzero(found[p.offset : p.stop]) for p in LAYOUT.parameters] == [1, 1, 0, 1, 3, 1]
    assert not merged(vector[None], density=0.2)[:6].any()


@pytest.mark.parametrize(("others", "expected"), [((1, 1, -1), 2), ((1, -1, -1), -2), ((1, -1, 0), 0)])
def test_entries_that_cancel_take_the_majority_sign_of_the_whole_model(
    others: tuple[int, int, int], expected: int
) -> None:
    vectors = np.zeros((2, 31), np.float32)
    vectors[:, 0] = 2, -2
    vectors[0, [8, 16, 30]] = others  # in other blocks than entry 0
    assert merged(vectors, density=1)[0] == expected


def test_no_sign_hangs_on_rounding_or_on_the_order_of_tasks() -> None:
    vectors = np.zeros((4, 31), np.float32)
    vectors[:, 0] = 1e8, 1, 1, -1e8  # in float32, 1e8 + 1 is 1e8
    vectors[0, 1:] = -1
    for order in ([0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0]):
        assert merged(vectors[order], density=1, combine="sum")[0] == np.float32(1e8 + 2)


@given(task_vectors, densities, scopes)
def test_turning_all_task_vectors_round_turns_the_merge_round(vectors: np.ndarray, density: float, scope: str) -> None:
    found = merged(vectors, density=density, scope=scope)
    np.testing.assert_array_equal(merged(-vectors, density=density, scope=scope), -found)


@given(task_vectors, st.permutations(range(5)))
def test_the_order_of_tasks_does_not_matter_even_where_sums_cancel(vectors: np.ndarray, order: list[int]) -> None:
    shuffled = vectors[[task for task in order if task < len(vectors)]]
    np.testing.assert_array_equal(merged(shuffled, density=0.5), merged(vectors, density=0.5))


def test_a_trust_region_masks_the_output_not_the_task_vectors() -> None:
    vectors, kept = random_tasks(), np.arange(31) % 3 > 0
    np.testing.assert_array_equal(merged(vectors, mask=kept), merged(vectors) * kept)


class Counted:
    """Counts the entries read, and forbids to change what was given out."""

    def __init__(self, vector: np.ndarray) -> None:
        self.vector, self.read = vector, 0

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, block: slice, /) -> np.ndarray:
        part = self.vector[block].copy()
        part.flags.writeable = False
        self.read += len(part)
        return part


@pytest.mark.parametrize(
    ("scope", "cancelling", "passes"), [("model", [], 3), ("model", [0, 20], 4), ("tensor", [], 2)]
)
def test_the_documented_number_of_passes(scope: str, cancelling: list[int], passes: int, small_blocks: None) -> None:
    vectors = random_tasks()
    vectors[:2, cancelling], vectors[2:, cancelling] = 9, -9
    counted = [Counted(vector) for vector in vectors]
    whole_direction("ties", MergeInputs(counted, layout=LAYOUT), {"scope": scope})
    assert {vector.read / 31 for vector in counted} == {passes}


@pytest.mark.parametrize("scope", ["model", "tensor"])
def test_elected_entries_of_any_block_add_up_to_the_merge(
    scope: Literal["model", "tensor"], small_blocks: None
) -> None:
    vectors: list[Vector] = [*random_tasks()]
    elected: Callable[[slice], np.ndarray] = elect(vectors, LAYOUT, 0.4, scope)
    whole = elected(slice(0, 31))
    assert whole.shape == (4, 31)
    assert whole.dtype == np.float32
    assert ((whole == 0) | (whole == random_tasks())).all()
    assert (np.abs(np.sign(whole).sum(axis=0)) == np.count_nonzero(whole, axis=0)).all()
    np.testing.assert_array_equal(whole.sum(axis=0), merged(random_tasks(), density=0.4, scope=scope))
    np.testing.assert_array_equal(np.hstack([elected(block) for block in blocks(31)]), whole)
    np.testing.assert_array_equal(elected(slice(5, 13)), whole[:, 5:13])
    assert np.count_nonzero(whole) > 10


def test_a_density_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(TatrError, match=r"^density = 0\.03 keeps none of 31 entries; give a larger one$"):
        merged(random_tasks(), density=0.03)
    assert np.count_nonzero(merged(random_tasks(), density=0.03, scope="tensor"))


@pytest.mark.parametrize("density", [0, -0.1, 1.01])
def test_a_density_that_is_no_share_is_refused(density: float) -> None:
    with pytest.raises(TatrError, match=r"ties: density = .* is out of range, expected > 0 and ≤ 1"):
        merged(random_tasks(), density=density)
