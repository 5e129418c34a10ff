"""Model Breadcrumbs against its definition, and what its settings mean in other codes."""

from fractions import Fraction
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
from tatr.vectors.layout import Layout

LAYOUT = Layout.of({"a": (2, 3), "b": (5,), "scale": (), "c": (1, 4, 4), "d": (3,)})
few_values = st.sampled_from([-3.0, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0])
task_vectors = arrays(np.float32, st.tuples(st.integers(1, 4), st.just(31)), elements=few_values)
shares = st.integers(0, 49).map(lambda hundredths: hundredths / 100)

random_tasks = partial(drawn_tasks, size=31)


def merged(
    vectors: np.ndarray, block: int = 8, mask: np.ndarray | None = None, layout: Layout = LAYOUT, **settings: float
) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "BLOCK", block)
        return whole_direction("breadcrumbs", MergeInputs([*vectors], layout=layout), settings, mask=mask)


def stated(vectors: np.ndarray, smallest: float, largest: float) -> np.ndarray:
    """Sort, cut both ends off, keep what is not outside of what is left."""
    total = np.zeros(31)
    for vector in vectors:
        for p in LAYOUT.parameters:
            ordered = sorted(abs(vector[p.offset : p.stop]).tolist())
            low, high = (int(Fraction(str(share)) * p.size) for share in (smallest, largest))
            left = ordered[low : p.size - high]
            for n in range(p.offset, p.stop):
                total[n] += vector[n] if left[0] <= abs(vector[n]) <= left[-1] else 0
    return total


@given(task_vectors, shares, shares, st.integers(1, 40))
def test_breadcrumbs_drops_both_ends_of_every_tensor(
    vectors: np.ndarray, smallest: float, largest: float, block: int
) -> None:
    found = merged(vectors, block, smallest=smallest, largest=largest)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, stated(vectors, smallest, largest), rtol=1e-6)


def test_the_defaults_keep_a_tenth_below_the_top_hundredth() -> None:
    layout = Layout.of({"weight": (40, 50), "bias": (1000,)})
    (vector,) = random_tasks(count=1, size=3000)
    vector[2000:] *= 1000
    found = merged(vector[None], layout=layout)
    for part, size in ((slice(0, 2000), 2000), (slice(2000, 3000), 1000)):
        order = np.argsort(-np.abs(vector[part]))
        stays = order[size // 100 : size // 100 + size // 10]
        np.testing.assert_array_equal(np.sort(np.flatnonzero(found[part])), np.sort(stays))
        np.testing.assert_array_equal(found[part][stays], vector[part][stays])


@pytest.mark.parametrize(("smallest", "largest", "ranks"), [(0.25, 0.5, range(4, 8)), (0.9, 0.0999, range(14, 15))])
def test_shares_are_rounded_down_and_counted_from_their_ends(smallest: float, largest: float, ranks: range) -> None:
    (vector,) = random_tasks(count=1)
    found = merged(vector[None], smallest=smallest, largest=largest)[12:28]
    assert sorted(np.argsort(np.argsort(np.abs(vector[12:28])))[found != 0]) == [*ranks]


def test_a_scalar_always_stays() -> None:
    vectors = random_tasks()
    assert merged(vectors, smallest=0.5, largest=0.49)[11] == pytest.approx(vectors[:, 11].sum())


def test_dropping_nothing_is_task_arithmetic() -> None:
    expected = whole_direction("task_arithmetic", MergeInputs([*random_tasks()]))
    np.testing.assert_array_equal(merged(random_tasks(), smallest=0, largest=0), expected)


def test_equal_magnitudes_stay_or_go_together() -> None:
    vector = np.ones((1, 31), np.float32)
    vector[0, ::2] = -1
    np.testing.assert_array_equal(merged(vector), vector[0])


def test_a_trust_region_masks_the_output_not_the_task_vectors() -> None:
    vectors, region = random_tasks(), np.arange(31) % 3 > 0
    settings = {"smallest": 0.4, "largest": 0.2}
    np.testing.assert_array_equal(merged(vectors, mask=region, **settings), merged(vectors, **settings) * region)
    assert (merged(vectors * region, **settings) != merged(vectors, **settings) * region).any()


@pytest.mark.parametrize(("smallest", "largest"), [(0.5, 0.5), (0.7, 0.3), (0.89, 0.11), (0.9, 0.2)])
def test_shares_that_leave_nothing_are_refused(smallest: float, largest: float) -> None:
    with pytest.raises(TatrError, match=r"breadcrumbs: smallest = 0\.\d+ and largest = 0\.\d+ drop everything"):
        merged(random_tasks(), smallest=smallest, largest=largest)


@pytest.mark.parametrize("settings", [{"smallest": 1}, {"smallest": -0.1}, {"largest": 1}])
def test_shares_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(TatrError, match=r"breadcrumbs: .* is out of range, expected ≥ 0 and < 1"):
        merged(random_tasks(), **settings)
