"""MagMax against its definition, entry by entry."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from whole import whole_direction

from tatr.merging.merge import MergeInputs

vectors = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 30)), elements=st.integers(-5, 5))


@given(vectors)
def test_each_entry_is_the_largest_by_magnitude(vectors: np.ndarray) -> None:
    found = whole_direction("magmax", MergeInputs([*vectors]))
    np.testing.assert_array_equal(found, [max(column, key=lambda x: (abs(x), x)) for column in vectors.T.tolist()])
