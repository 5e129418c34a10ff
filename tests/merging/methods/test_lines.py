"""LiNeS: scales that grow with depth."""

from functools import partial

import numpy as np
import pytest
from drawn_tasks import drawn_tasks
from hypothesis import given
from hypothesis import strategies as st
from whole import whole_direction

from tatr.errors import TatrError
from tatr.merging.merge import MergeInputs
from tatr.merging.methods import load
from tatr.vectors import layout
from tatr.vectors.layout import Layout

BLOCK = "visual.transformer.resblocks"
LAYOUT = Layout.of(
    {
        "visual.class_embedding": (4,),
        "visual.proj": (4, 3),
        "visual.conv1.weight": (2, 1, 2, 2),
        f"{BLOCK}.0.mlp.weight": (3, 4),
        f"{BLOCK}.0.ln.bias": (4,),
        f"{BLOCK}.1.mlp.weight": (3, 4),
        f"{BLOCK}.2.mlp.weight": (3, 4),
        "visual.ln_post.bias": (4,),
    }
)

random_tasks = partial(drawn_tasks, count=4, size=LAYOUT.size)


def merged(
    vectors: np.ndarray,
    mask: np.ndarray | None = None,
    shapes: Layout = LAYOUT,
    block: int = 2**22,
    **settings: float | str,
) -> np.ndarray:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BLOCK", block)
        return whole_direction("lines", MergeInputs([*vectors], layout=shapes), settings, mask=mask)


def scale_of(shapes: Layout, **settings: float | str) -> dict[str, float]:
    """The scale of each parameter, as told from a merge of ones by a single task."""
    found = shapes.unflatten(merged(np.ones((1, shapes.size), np.float32), shapes=shapes, **settings))
    assert all((tensor == tensor.flat[0]).all() for tensor in found.values())
    return {name: float(tensor.flat[0]) for name, tensor in found.items()}


def test_each_block_has_its_scale() -> None:
    vectors = random_tasks()
    scales = {
        "visual.class_embedding": 0.25,
        "visual.proj": 0.75,
        "visual.conv1.weight": 0.25,
        f"{BLOCK}.0.mlp.weight": 0.25,
        f"{BLOCK}.0.ln.bias": 0.25,
        f"{BLOCK}.1.mlp.weight": 0.5,
        f"{BLOCK}.2.mlp.weight": 0.75,
        "visual.ln_post.bias": 0.75,
    }
    found, total = LAYOUT.unflatten(merged(vectors)), LAYOUT.unflatten(vectors.astype(np.float64).sum(axis=0))
    for name, scale in scales.items():
        np.testing.assert_allclose(found[name], scale * total[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_authors_code_scales_all_outside_of_blocks_like_the_first() -> None:
    scales = scale_of(LAYOUT, alpha=0.1, beta=0.4, outside="first")
    assert scales["visual.proj"] == scales["visual.ln_post.bias"] == scales["visual.conv1.weight"] == np.float32(0.1)
    assert scales[f"{BLOCK}.2.mlp.weight"] == np.float32(0.5)


def test_a_language_models_head_comes_last_wherever_its_file_has_it() -> None:
    names = ["lm_head.weight", "model.embed_tokens.weight", "model.layers.0.w", "model.layers.1.w", "model.norm.weight"]
    scales = scale_of(Layout.of(dict.fromkeys(names, (2,))), alpha=0.1, beta=0.4)
    assert list(scales.values()) == [
        np.float32(0.5),
        np.float32(0.1),
        np.float32(0.1),
        np.float32(0.5),
        np.float32(0.5),
    ]


@given(st.integers(1, 80), st.floats(0, 1), st.floats(0, 1))
def test_block_size_does_not_matter(block: int, alpha: float, beta: float) -> None:
    vectors = random_tasks()
    whole = merged(vectors, alpha=alpha, beta=beta)
    assert whole.dtype == np.float32
    assert merged(vectors, block=block, alpha=alpha, beta=beta).tobytes() == whole.tobytes()


def test_without_slope_it_is_task_arithmetic() -> None:
    vectors = random_tasks()
    expected = np.float32(0.3) * vectors.astype(np.float64).sum(axis=0)
    np.testing.assert_allclose(merged(vectors, alpha=0.3, beta=0), expected, rtol=1e-5, atol=1e-6)


def test_order_of_tasks_does_not_matter_and_inputs_stay() -> None:
    vectors = random_tasks()
    before = vectors.copy()
    np.testing.assert_allclose(merged(vectors[[2, 0, 3, 1]]), merged(vectors), atol=1e-5)
    np.testing.assert_array_equal(vectors, before)


def test_blocks_are_told_by_number_not_by_spelling() -> None:
    names = [f"encoder.layers.{i}.{part}" for i in (*range(0, 20, 2), 101) for part in ("mlp.1.weight", "norm.0.bias")]
    shapes = Layout.of({"stem.0.weight": (2,), "stem.1.weight": (2,)} | dict.fromkeys(sorted(names), (2,)))
    scales = scale_of(shapes, alpha=0, beta=1)
    assert scales["stem.0.weight"] == scales["stem.1.weight"] == 0
    for rank, number in enumerate((*range(0, 20, 2), 101)):
        assert scales[f"encoder.layers.{number}.mlp.1.weight"] == pytest.approx(rank / 10)
        assert scales[f"encoder.layers.{number}.norm.0.bias"] == pytest.approx(rank / 10)


def test_a_single_block_has_the_first_scale() -> None:
    shapes = Layout.of({"conv": (2,), "0.weight": (3,), "head": (2,)})
    assert set(scale_of(shapes, alpha=0.5, beta=0.5).values()) == {0.5}


def test_bad_input_is_refused() -> None:
    with pytest.raises(TatrError, match=r"lines: no residual block among the 2 parameters.*'resblocks.0.'"):
        merged(random_tasks(size=4), shapes=Layout.of({"conv1.weight": (2,), "fc.bias": (2,)}))
    with pytest.raises(TatrError, match="beta = -1 is out of range"):
        merged(random_tasks(), beta=-1)
    with pytest.raises(TatrError, match="lines: needs layout"):
        whole_direction("lines", MergeInputs([*random_tasks()]))


def test_the_mask_restricts_the_merged_direction() -> None:
    vectors, kept = random_tasks(), np.arange(LAYOUT.size) % 3 > 0
    np.testing.assert_array_equal(merged(vectors, kept), merged(vectors) * kept)


def test_what_it_declares() -> None:
    method = load("lines")
    assert (method.needs, method.coefficient) == (["layout"], 1)
    assert list(method.parameters) == ["alpha", "beta", "outside"]
