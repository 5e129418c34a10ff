"""θ_pre + λ·v: the float32 sum bit for bit, masked or not, whole or by blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatr.errors import TatrError
from tatr.vectors import layout
from tatr.vectors.apply import applied, apply


def vectors(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(size)
    base, direction = rng.normal(size=(2, size)).astype(np.float32)
    return base, direction, rng.random(size) < 0.5


@given(st.integers(1, 60), st.floats(-2, 2), st.integers(1, 20))
def test_it_is_the_float32_sum_bit_for_bit(size: int, coefficient: float, block: int) -> None:
    base, direction, mask = vectors(size)
    expected = base + np.float32(coefficient) * direction
    assert apply(base, direction, coefficient)[0:size].tobytes() == expected.tobytes()
    assert apply(base, direction, coefficient)[0:size].dtype == np.float32
    masked = base + np.float32(coefficient) * (direction * mask)
    assert apply(base, direction, coefficient, mask)[0:size].tobytes() == masked.tobytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        for v in (direction, lambda: (direction[part] for part in layout.blocks(size))):
            given = v() if callable(v) else v
            assert np.concatenate([*applied(base, given, coefficient)]).tobytes() == expected.tobytes()
            given = v() if callable(v) else v
            assert np.concatenate([*applied(base, given, coefficient, mask)]).tobytes() == masked.tobytes()


def test_outside_the_mask_the_pretrained_model_stays_exactly_as_it_is() -> None:
    base, direction, mask = vectors(1000)
    merged = apply(base, direction, 0.3, mask)
    np.testing.assert_array_equal(merged[0:1000][~mask], base[~mask])
    assert (merged[0:1000][mask] != base[mask]).all()
    np.testing.assert_array_equal(merged[300:310], merged[0:1000][300:310])


def test_what_does_not_fit_together_is_refused() -> None:
    base, direction, mask = vectors(10)
    with pytest.raises(TatrError, match="vectors of 9, 10 entries"):
        apply(base, direction[:9], 1.0)
    with pytest.raises(TatrError, match="vectors of 9, 10 entries"):
        apply(base, direction, 1.0, mask[:9])
    with pytest.raises(ValueError, match="zip"):
        list(applied(base, iter([direction, direction]), 1.0))
    with pytest.raises(TatrError, match="vectors of 9, 10 entries"):
        list(applied(base, iter([direction[:9]]), 1.0))
