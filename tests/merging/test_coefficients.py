"""λ per tensor, by patterns of names."""

import fnmatch
import re

import numpy as np
import pytest

from tatr.errors import TatrError
from tatr.merging.coefficients import ByTensor, coefficient_of, per_tensor, scaled, scaled_vector
from tatr.vectors.layout import Layout, blocks

SHAPES = {
    "visual.conv1.weight": (3, 2, 2, 2),
    "visual.ln_pre.weight": (4,),
    "empty": (0,),
    **{f"visual.resblocks.{i}.{name}": (5,) for i in range(12) for name in ("ln_1.weight", "mlp.weight")},
    "visual.proj": (4, 3),
}
LAYOUT = Layout.of(SHAPES)
NAMES = [*SHAPES]
V = np.random.default_rng(0).normal(size=LAYOUT.size).astype(np.float32)
PATTERNS = {"*.ln_*": 0, "visual.resblocks.[0-5].*": 0.2, "visual.proj": 1.5}


def expected(patterns: dict[str, float], otherwise: float) -> dict[str, float]:
    return {
        name: next((value for pattern, value in patterns.items() if fnmatch.fnmatchcase(name, pattern)), otherwise)
        for name in NAMES
    }


def test_the_first_pattern_that_matches_counts_and_the_default_where_none_does() -> None:
    found = dict(zip(NAMES, per_tensor(ByTensor.of(PATTERNS, 0.3), LAYOUT), strict=True))
    assert found == expected(PATTERNS, 0.3)
    assert found["visual.resblocks.3.ln_1.weight"] == 0
    assert found["visual.resblocks.11.mlp.weight"] == found["visual.conv1.weight"] == 0.3
    assert per_tensor(0.4, LAYOUT) == [0.4] * len(NAMES)


@pytest.mark.parametrize("block", [7, 64, 1000])
def test_a_direction_is_scaled_tensor_by_tensor_however_it_is_cut(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tatr.vectors.layout.BLOCK", block)
    coefficient = ByTensor.of(PATTERNS, 0.3)
    wanted = np.concatenate(
        [
            np.float32(c) * V[p.offset : p.stop]
            for p, c in zip(LAYOUT.parameters, expected(PATTERNS, 0.3).values(), strict=True)
        ]
    )
    vector = scaled_vector(V, coefficient, LAYOUT)
    for part in (slice(0, LAYOUT.size), slice(3, 30), slice(24, 28), slice(LAYOUT.size - 1, LAYOUT.size)):
        np.testing.assert_array_equal(vector[part], wanted[part])
    stream = (V[part] for part in blocks(LAYOUT.size))
    np.testing.assert_array_equal(np.concatenate([*scaled(stream, coefficient, LAYOUT)]), wanted)


def test_one_pattern_for_all_is_one_coefficient() -> None:
    found = scaled_vector(V, ByTensor.of({"*": 0.3}, 1), LAYOUT)[0 : LAYOUT.size]
    np.testing.assert_array_equal(found, np.float32(0.3) * V)


def test_settings_keep_the_order_of_patterns() -> None:
    for patterns in (PATTERNS, dict(reversed(PATTERNS.items()))):
        coefficient = ByTensor.of(patterns, 0.3)
        assert ByTensor.load(coefficient.settings) == coefficient
        assert [pattern for pattern, _ in coefficient.settings["patterns"]] == [*patterns]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"*.nl_*": 0}, r"'\*\.nl_\*': no merged tensor is called so; they are called as 'visual\.conv1\.weight'"),
        ({"*": 0.4, "*.ln_*": 0}, r"'\*\.ln_\*': '\*' before it takes all that it matches; put it first"),
        ({"*": 0.4, "proj": 0}, "'proj': no merged tensor is called so"),
    ],
)
def test_a_pattern_without_effect_is_refused(patterns: dict[str, float], message: str) -> None:
    with pytest.raises(TatrError, match=message):
        per_tensor(ByTensor.of(patterns, 0.3), LAYOUT)


def test_a_last_star_may_be_left_with_nothing() -> None:
    assert set(per_tensor(ByTensor.of({"visual.*": 0.4, "empty": 1, "*": 0.1}, 0.3), LAYOUT)) == {0.4, 1}


@pytest.mark.parametrize("value", ["0.3", float("nan"), float("inf"), True, [0.3]])
def test_a_coefficient_is_a_number(value: object) -> None:
    with pytest.raises(TatrError, match=rf"^coefficient: {re.escape(repr(value))}: expected a number$"):
        coefficient_of(value, 0.3)
    with pytest.raises(TatrError, match=r"^coefficient: '\*': .*: expected a number$"):
        coefficient_of({"*": value}, 0.3)


def test_a_coefficient_as_it_is_given() -> None:
    assert coefficient_of(None, 0.3) == 0.3
    assert [type(coefficient_of(value, 0.3)) for value in (1, np.float32(0.5), np.int64(2))] == [float] * 3
    assert coefficient_of({"*": np.float32(0.5)}, 0.3) == ByTensor((("*", 0.5),), 0.3)
    with pytest.raises(TatrError, match="has no pattern"):
        coefficient_of({}, 0.3)
