"""Analyses of vectors, against plain statements of their formulas."""

import numpy as np
import pytest
from analysis_examples import SHAPES, TASKS, masks

from tatr.merging.layers import Place, places
from tatr.report.analyses import Labelled, load
from tatr.vectors.layout import Layout


@pytest.fixture
def layout() -> Layout:
    return Layout.of(SHAPES)


@pytest.fixture
def task_vectors(layout: Layout) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3, layout.size)).astype(np.float32)
    vectors[:, ::5] = 0  # parameters that did not move
    vectors[1, ::7] = 0
    return dict(zip(TASKS, vectors, strict=True))


@pytest.fixture
def gradients(layout: Layout) -> dict[str, np.ndarray]:
    drawn = np.random.default_rng(1).random((3, layout.size)).astype(np.float32)
    return dict(zip(TASKS, drawn, strict=True))


def test_similarity(task_vectors: dict[str, np.ndarray]) -> None:
    lines = list(load("similarity").formula(task_vectors))
    assert [(line["task"], line["other"]) for line in lines] == [(a, b) for a in TASKS for b in TASKS]
    for line in lines:
        one, other = (task_vectors[line[key]].astype(np.float64) for key in ("task", "other"))
        assert line["norm"] == pytest.approx(np.linalg.norm(one), rel=1e-12)
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert line["cosine"] == pytest.approx(cosine, abs=1e-12)
        moved = (one != 0) & (other != 0)
        assert line["sign_agreement"] == np.mean(np.sign(one[moved]) == np.sign(other[moved]))


def test_similarity_of_a_task_vector_that_is_zero() -> None:
    lines = list(load("similarity").formula({"a": np.zeros(5, np.float32), "b": np.ones(5, np.float32)}))
    assert [line["cosine"] for line in lines] == [0, 0, 0, pytest.approx(1)]


def test_layers(task_vectors: dict[str, np.ndarray], gradients: dict[str, np.ndarray], layout: Layout) -> None:
    lines = list(load("layers").formula(task_vectors, gradients, layout))
    found = {(line["task"], line["depth"], line["kind"]): line for line in lines}
    assert {(depth, kind) for _, depth, kind in found} == {
        *((0, "weight"), (1, "weight"), (1, "bias"), (2, "weight"), (3, "weight"), (3, "bias"))
    }
    others = abs(task_vectors["cars"]) + abs(task_vectors["textures"])
    omega = layout.unflatten((gradients["digits"] * others).astype(np.float32))
    line = found["digits", 2, "weight"]
    assert line["sensitivity"] == pytest.approx(
        omega["visual.transformer.resblocks.1.mlp.c_fc.weight"].mean(), rel=1e-6
    )
    assert line["parameters"] == 10
    assert found["digits", 3, "weight"]["sensitivity"] == pytest.approx(omega["visual.proj"].mean(), rel=1e-6)


def test_layers_sum_up_to_the_papers_sensitivity(
    task_vectors: dict[str, np.ndarray], gradients: dict[str, np.ndarray], layout: Layout
) -> None:
    from tatr.merging.sensitivities import load as load_sensitivity

    omega = load_sensitivity("gradient").of(task_vectors=[*task_vectors.values()], gradients=[*gradients.values()])[
        slice(0, layout.size)
    ]
    lines = load("layers").formula(task_vectors, gradients, layout)
    assert sum(line["sensitivity"] * line["parameters"] for line in lines) == pytest.approx(omega.sum(), rel=1e-6)


def test_places_of_parameters(layout: Layout) -> None:
    assert places(layout) == [
        Place(0, "embedding", "weight"),
        Place(1, "LayerNorm", "weight"),
        Place(1, "attention", "bias"),
        Place(2, "MLP", "weight"),
        Place(3, "LayerNorm", "bias"),
        Place(3, "projection", "weight"),
    ]


def test_dropped(layout: Layout) -> None:
    regions = masks(layout)
    lines = list(load("dropped").formula(regions, layout))
    for region in regions:
        its = [line for line in lines if line["region"] == region.labels["region"]]
        assert sum(line["parameters"] for line in its) == layout.size
        left_out = sum(line["dropped"] * line["parameters"] for line in its)
        assert left_out == pytest.approx((~region.content).sum())
    line = next(line for line in lines if line["region"] == "r1" and line["part"] == "MLP")
    tensor = layout.unflatten(regions[1].content)["visual.transformer.resblocks.1.mlp.c_fc.weight"]
    assert line["dropped"] == pytest.approx(1 - tensor.mean())


def test_overlap(layout: Layout) -> None:
    regions = masks(layout)
    lines = list(load("overlap").formula(regions))
    pairs = {(line["region"], line["other"]): line["jaccard"] for line in lines}
    assert pairs.keys() == {("r0", "r0"), ("r0", "r1"), ("r1", "r0"), ("r1", "r1"), ("r2", "r2")}
    one, other = ({*np.flatnonzero(~region.content)} for region in regions[:2])
    assert pairs["r0", "r1"] == pairs["r1", "r0"] == len(one & other) / len(one | other)
    assert pairs["r2", "r2"] == 1


def test_regions_that_leave_out_nothing_are_equal() -> None:
    all_kept = [Labelled({"region": name, "tau": 0.0, "seed": 0}, np.ones(9, bool)) for name in "ab"]
    assert {line["jaccard"] for line in load("overlap").formula(all_kept)} == {1.0}
