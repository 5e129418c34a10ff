"""A direction and its trust regions, as the steps read them that use a merge."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tatr.errors import TatrError
from tatr.vectors.layout import Layout
from tatr.workflow.directions import open_directions, with_factors

RNG = np.random.default_rng(0)
DIRECTIONS = RNG.normal(size=(3, 20)).astype(np.float32)
MASKS = RNG.random((3, 20)) < 0.5


@pytest.fixture
def stores(make_vector: Callable[..., Path]) -> Callable[[str, int], list[Path]]:
    """Stores of the first directions or masks."""

    def make(kind: str, count: int) -> list[Path]:
        values = MASKS if kind == "mask" else DIRECTIONS
        return [make_vector(kind, f"{kind}{i}", values[i]).parent / "vector.zarr" for i in range(count)]

    return make


Stores = Callable[[str, int], list[Path]]


@pytest.mark.parametrize(("directions", "masks"), [(1, 0), (3, 0), (1, 1), (1, 3), (3, 3)])
def test_each_mask_restricts_the_one_direction_or_its_own(stores: Stores, directions: int, masks: int) -> None:
    found = open_directions(stores("merge", directions), stores("mask", masks), "some layout")
    assert len(found) == max(directions, masks)
    for index, vector in enumerate(found):
        expected = DIRECTIONS[index if directions > 1 else 0] * (MASKS[index] if masks else 1)
        np.testing.assert_array_equal(vector[0:20], expected)


def test_what_does_not_belong_together_is_refused(stores: Stores, make_vector: Callable[..., Path]) -> None:
    directions, masks = stores("merge", 2), stores("mask", 3)
    with pytest.raises(TatrError, match=r"--directions: got 2, but 3 masks; give one direction for all masks, or one"):
        open_directions(directions, masks, "some layout")
    with pytest.raises(TatrError, match=r"--masks: got 3, but no direction"):
        open_directions([], masks, "some layout")
    other = make_vector("mask", "other", MASKS[0], "another layout").parent / "vector.zarr"
    with pytest.raises(TatrError, match="was made for another encoder"):
        open_directions(directions[:1], [other], "some layout")


def test_tensors_have_coefficients_of_their_own_where_settings_say_so(stores: Stores) -> None:
    layout = Layout.of({"a.weight": (4, 3), "a.bias": (8,)})
    opened = open_directions(stores("merge", 1), stores("mask", 2), "some layout")
    found, factors = with_factors(opened, [{"patterns": [["*.bias", 0.5]], "otherwise": 2}], layout)
    assert factors == [1]
    for plain, scaled in zip(opened, found, strict=True):
        expected = plain[0:20] * np.repeat([2, 0.5], [12, 8])
        np.testing.assert_allclose(scaled[0:20], expected)
        np.testing.assert_allclose(scaled[10:15], expected[10:15])
    assert with_factors(opened, [0.2, 0.3], layout) == (opened, [0.2, 0.3])
    with pytest.raises(TatrError, match="'b': no merged tensor is called so"):
        with_factors(opened, [{"patterns": [["b", 1]], "otherwise": 2}], layout)
