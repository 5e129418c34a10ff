"""Localize-and-Stitch without data, entry by entry; its kinship with Ties-Merging."""

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
from tatr.merging.methods import load
from tatr.vectors import layout as layout_module
from tatr.vectors.layout import Layout

# Few different values: equal magnitudes and zeros are then common.
few_values = st.sampled_from([-3.0, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, 3.0])
task_vectors = arrays(np.float32, st.tuples(st.integers(1, 5), st.just(31)), elements=few_values)
densities = st.integers(4, 100).map(lambda hundredths: hundredths / 100)

random_tasks = partial(drawn_tasks, size=200)


def merged(vectors: np.ndarray, block: int = 8, mask: np.ndarray | None = None, **settings: float) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "BLOCK", block)
        return whole_direction("localize_and_stitch", MergeInputs([*vectors]), settings, mask=mask)


def stated(vectors: np.ndarray, density: float) -> list[float]:
    found = []
    rows = [row.tolist() for row in vectors]
    smallest = [sorted(map(abs, row))[-int(Fraction(str(density)) * len(row))] for row in rows]
    for column in zip(*rows, strict=True):
        kept = [value for value, least in zip(column, smallest, strict=True) if value and abs(value) >= least]
        found.append(sum(kept) / len(kept) if kept else 0.0)
    return found


@given(task_vectors, densities, st.integers(1, 40))
def test_it_is_its_definition(vectors: np.ndarray, density: float, block: int) -> None:
    found = merged(vectors, block, density=density)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, stated(vectors, density), rtol=1e-6)


def test_a_task_alone_keeps_its_largest_entries() -> None:
    (vector,) = random_tasks(1)
    found = merged(vector[None])
    order = np.argsort(-np.abs(vector))
    np.testing.assert_array_equal(found[order[:10]], vector[order[:10]])
    assert not found[order[10:]].any()


def test_where_signs_agree_it_is_ties_merging_with_the_mean() -> None:
    vectors = np.abs(random_tasks())
    inputs = MergeInputs([*vectors], layout=Layout.of({"w": (200,)}))
    expected = whole_direction("ties", inputs, {"density": 0.3, "combine": "mean"})
    np.testing.assert_allclose(merged(vectors, density=0.3), expected, rtol=1e-6)


def test_entries_of_zero_do_not_count_as_kept() -> None:
    vectors = np.array([[0, 0, 0, 4], [2, 0, 0, 2]], np.float32)
    np.testing.assert_array_equal(merged(vectors, density=1), [2, 0, 0, 3])
    assert not merged(vectors * 0, density=0.5).any()


def test_the_mask_restricts_the_merged_direction() -> None:
    vectors, kept = random_tasks(), np.arange(200) % 3 > 0
    np.testing.assert_array_equal(merged(vectors, mask=kept), merged(vectors) * kept)


def test_a_density_that_keeps_nothing_is_refused_and_what_it_declares() -> None:
    with pytest.raises(TatrError, match=r"^density = 0.001 keeps none of 200 entries"):
        merged(random_tasks(), density=0.001)
    with pytest.raises(TatrError, match="density = 0 is out of range"):
        merged(random_tasks(), density=0)
    method = load("localize_and_stitch")
    assert (method.needs, list(method.parameters), method.coefficient) == ([], ["density"], 1)
