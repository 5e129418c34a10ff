"""Consensus Task Arithmetic against its definition, entry by entry."""

from functools import partial

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.vectors import layout as layout_module

# Multiples of 1/4: sums are exact, and entries that lie exactly on their bound are common.
quarters = st.integers(-12, 12).map(lambda value: value / 4)
task_vectors = arrays(np.float32, st.tuples(st.integers(2, 5), st.integers(1, 30)), elements=quarters)

random_tasks = partial(drawn_tasks, count=5, size=500)


def merged(vectors: np.ndarray, block: int = 8, mask: np.ndarray | None = None, **settings: float) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "BLOCK", block)
        return whole_direction("consensus", MergeInputs([*vectors]), settings, mask=mask)


def stated(vectors: np.ndarray, information: float, agreeing: int) -> list[float]:
    found = []
    for column in vectors.T.tolist():
        others = [sum(column[:k] + column[k + 1 :]) for k in range(len(column))]
        users = [abs(own) >= information * abs(other) for own, other in zip(column, others, strict=True)]
        found.append(sum(column) if sum(users) >= agreeing else 0.0)
    return found


@given(task_vectors, st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), st.integers(0, 2), st.integers(1, 40))
def test_consensus_keeps_what_enough_tasks_use(
    vectors: np.ndarray, information: float, agreeing: int, block: int
) -> None:
    found = merged(vectors, block, information=information, agreeing=agreeing)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, stated(vectors, information, agreeing))


def test_the_defaults_are_two_tasks_at_four_tenths() -> None:
    found = merged(random_tasks())
    np.testing.assert_allclose(found, stated(random_tasks(), 0.4, 2), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found, merged(random_tasks(), information=0.4, agreeing=2))
    assert 0.05 < (found == 0).mean() < 0.95


def test_catastrophic_and_selfish_entries_go_and_shared_ones_stay() -> None:
    # Columns: no task's, since each is small against the others' sum; the first task's alone; two tasks'.
    vectors = np.array([[1, 9, 3], [1, 1, 3], [1, 1, 0], [1, 0, 0]], np.float32)
    np.testing.assert_array_equal(merged(vectors), [0, 0, 6])
    np.testing.assert_array_equal(merged(vectors, agreeing=1), [0, 11, 6])
    np.testing.assert_array_equal(merged(vectors, agreeing=0), [4, 11, 6])


@pytest.mark.parametrize("settings", [{"information": 0}, {"agreeing": 0}])
def test_without_a_condition_it_is_task_arithmetic(settings: dict[str, float]) -> None:
    expected = whole_direction("task_arithmetic", MergeInputs([*random_tasks()]))
    np.testing.assert_allclose(merged(random_tasks(), **settings), expected, atol=1e-6)


@given(st.floats(0, 2), st.integers(0, 4))
def test_more_information_or_more_tasks_asked_for_keep_less(information: float, agreeing: int) -> None:
    kept = merged(random_tasks(), information=information, agreeing=agreeing) != 0
    assert not ((merged(random_tasks(), information=information + 0.1, agreeing=agreeing) != 0) & ~kept).any()
    assert not ((merged(random_tasks(), information=information, agreeing=agreeing + 1) != 0) & ~kept).any()


def test_no_entry_hangs_on_the_order_of_tasks() -> None:
    vectors = np.array([[1e8], [0.4], [1.4], [-1e8]], np.float32)  # in float32, 1e8 + 1 is 1e8
    found = {tuple(merged(vectors[order])) for order in ([0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0])}
    assert len(found) == 1
    assert next(iter(found))[0] == pytest.approx(1.8)


def test_masking_before_or_after_is_the_same() -> None:
    vectors, region = random_tasks(), np.arange(500) % 3 > 0
    np.testing.assert_array_equal(merged(vectors, mask=region), merged(vectors * region))


def test_more_agreeing_tasks_than_there_are_is_refused() -> None:
    with pytest.raises(
        TatrError, match=r"^consensus: agreeing = 6 but there are 5 tasks to merge, so nothing would be"
    ):
        merged(random_tasks(), agreeing=6)
    with pytest.raises(TatrError, match=r"^consensus: agreeing = 2 but there is 1 task to merge"):
        merged(random_tasks(count=1))
    assert (merged(random_tasks(), agreeing=5, information=0.1) != 0).any()


@pytest.mark.parametrize("settings", [{"information": -0.1}, {"agreeing": -1}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(TatrError, match=r"consensus: .* is out of range, expected ≥ 0"):
        merged(random_tasks(), **settings)
