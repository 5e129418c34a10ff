"""The flat vector: state dict round trip, blocks, and everything that a state dict can get wrong."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tatr.errors import TatrError
from tatr.vectors import layout as layout_module
from tatr.vectors.layout import Layout, blocks

SHAPES = st.dictionaries(
    st.text("abcxyz._", min_size=1, max_size=6), st.lists(st.integers(1, 4), max_size=4).map(tuple), max_size=6
)


def random_tensors(layout: Layout, dtype: type = np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {p.name: rng.normal(size=p.shape).astype(dtype) for p in layout.parameters}


@given(SHAPES)
def test_a_state_dict_survives_the_round_trip_through_a_flat_vector(shapes: dict[str, tuple[int, ...]]) -> None:
    layout = Layout.of(shapes)
    tensors = random_tensors(layout)
    flat = layout.flatten(tensors)
    assert flat.shape == (sum(t.size for t in tensors.values()),)
    back = layout.unflatten(flat)
    assert list(back) == list(shapes)
    for name, tensor in tensors.items():
        assert back[name].shape == tensor.shape
        np.testing.assert_array_equal(back[name], tensor)


def test_the_flat_vector_follows_the_layouts_order_not_the_state_dicts(small_layout: Layout) -> None:
    tensors = random_tensors(small_layout)
    flat = small_layout.flatten(dict(reversed(tensors.items())))
    np.testing.assert_array_equal(flat, np.concatenate([tensors[p.name].ravel() for p in small_layout.parameters]))


def test_unflattening_copies_nothing(small_layout: Layout) -> None:
    flat = np.zeros(small_layout.size, np.float32)
    small_layout.unflatten(flat)["b"][0] = 1
    assert flat[6] == 1


def test_half_precision_is_widened_without_loss(small_layout: Layout) -> None:
    tensors = random_tensors(small_layout, np.float16)
    assert small_layout.flatten(tensors).dtype == np.float32
    np.testing.assert_array_equal(small_layout.unflatten(small_layout.flatten(tensors))["a"], tensors["a"])


def test_offsets_leave_no_gap(small_layout: Layout) -> None:
    stops = [0, *(p.stop for p in small_layout.parameters)]
    assert [p.offset for p in small_layout.parameters] == stops[:-1]
    assert small_layout.size == stops[-1] == 31


def test_saved_and_loaded_it_is_the_same(small_layout: Layout, tmp_path: Path) -> None:
    small_layout.save(tmp_path / "layout.json")
    assert Layout.load(tmp_path / "layout.json") == small_layout
    assert Layout.load(tmp_path / "layout.json").digest == small_layout.digest


@pytest.mark.parametrize("other", [{"a": (3, 2)}, {"b": (2, 3)}, {"a": (6,)}, {"a": (2, 3), "b": (1,)}])
def test_the_digest_tells_layouts_apart(other: dict[str, tuple[int, ...]]) -> None:
    assert Layout.of(other).digest != Layout.of({"a": (2, 3)}).digest


@given(st.integers(0, 100), st.integers(1, 30))
def test_blocks_cover_everything_once_and_in_order(size: int, length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout_module, "BLOCK", length)
        cut = list(blocks(size))
    assert [i for block in cut for i in range(block.start, block.stop)] == list(range(size))
    assert all(block.stop - block.start == length for block in cut[:-1])


def without(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda tensors: tensors.__delitem__(name)


def replacing(name: str, tensor: np.ndarray) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("b"), r"mine\.pt: 'b' is missing; is it a checkpoint of another architecture\?"),
        (replacing("extra.weight", np.zeros(2)), r"mine\.pt: 'extra\.weight' is not part of the encoder"),
        (replacing("b", np.zeros(6)), r"mine\.pt: 'b' has shape \[6\], expected \[5\]"),
        (replacing("b", np.zeros((5, 1))), r"mine\.pt: 'b' has shape \[5, 1\], expected \[5\]"),
        (replacing("b", np.zeros(5, np.int64)), r"mine\.pt: 'b' is int64, expected a floating-point type"),
        (replacing("b", np.zeros(5, bool)), r"mine\.pt: 'b' is bool, expected a floating-point type"),
        (replacing("b", np.array([0, 0, np.nan, 0, 0])), r"mine\.pt: 'b' holds NaN or infinity"),
        (replacing("b", np.array([0, 0, -np.inf, 0, 0])), r"mine\.pt: 'b' holds NaN or infinity"),
    ],
)
def test_a_bad_state_dict_is_refused_by_file_and_key(
    small_layout: Layout, damage: Callable[[dict[str, np.ndarray]], None], message: str
) -> None:
    tensors = random_tensors(small_layout)
    damage(tensors)
    with pytest.raises(TatrError, match=message):
        small_layout.flatten(tensors, "mine.pt")


def test_another_architecture_is_named_without_listing_hundreds_of_keys(small_layout: Layout) -> None:
    with pytest.raises(TatrError, match=r"'a', 'b', 'c' and 2 more are missing") as refused:
        small_layout.flatten({f"layer{i}.weight": np.zeros(3) for i in range(200)}, "resnet.pt")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("shape", [(30,), (32,), (31, 1)])
def test_a_flat_vector_of_another_size_is_refused(small_layout: Layout, shape: tuple[int, ...]) -> None:
    with pytest.raises(TatrError, match=r"does not fit a layout of 31 entries"):
        small_layout.unflatten(np.zeros(shape, np.float32))
