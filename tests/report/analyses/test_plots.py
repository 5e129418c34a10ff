"""Figures of all analyses: drawn for one seed and for several, with a caption that states what was set."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from analysis_examples import ROWS, SHAPES, TASKS, masks, planes, results
from scipy import stats

from tatr.errors import TatrError
from tatr.report import analyses
from tatr.report.analyses import Labelled
from tatr.report.analyses_page import page
from tatr.report.plots import drawn, load, renamed, with_intervals
from tatr.report.statistics import mean_over_seeds
from tatr.report.style import FORMS, rendered
from tatr.vectors.layout import Layout

mpl.use("Agg")

LAYOUT = Layout.of(SHAPES)


def given(need: str) -> Any:  # noqa: ANN401
    """Something small that an analysis can look at, by the name of its argument."""
    rng = np.random.default_rng(0)
    if need in ("task_vectors", "gradients", "signed_gradients"):
        values = rng.standard_normal((3, LAYOUT.size)).astype(np.float32)
        return dict(zip(TASKS, abs(values) if need == "gradients" else values, strict=True))
    if need == "layout":
        return LAYOUT
    if need == "masks":
        return masks(LAYOUT)
    if need == "rows":
        tried = [{"tau": None, "coefficient": c, "validation": c / 2} for c in (0.2, 0.3)]
        return [
            *ROWS,
            Labelled(
                {**ROWS[0].labels, "row": "λ searched", "merge": "other", "but_for_region": "other"}, results(0, *tried)
            ),
        ]
    if need == "splits":
        return [
            Labelled({"split": split, "region": region}, results(seed, tasks=TASKS))
            for split in ("cars", "digits, textures")
            for seed, region in enumerate(("none", "gradient"))
        ]
    if need == "regions":
        return [Labelled({"region": "inside"}, np.arange(LAYOUT.size) % 2 == 0)]
    if need == "without_one":
        return [
            Labelled({"region": region, "left_out": left_out}, results(seed, tasks=TASKS))
            for region in ("none", "inside")
            for seed, left_out in enumerate(("", *TASKS))
        ]
    if need == "components":
        return [
            Labelled({"component": name}, results(seed))
            for seed, name in enumerate(("all", "negative", "positive", "orthogonal"))
        ]
    if need == "landscapes":
        return planes()
    raise AssertionError(f"say here what an analysis that needs {need} can look at")


SETTINGS: dict[str, dict[str, Any]] = {
    "contrasts": {"pairs": (("TA", "n 16"), ("n 16", "n 1"))},
    "generalization": {"unseen": (("cars",), ("digits", "textures"))},
}
"""Those that have no default."""


def table(name: str, seeds: int) -> pd.DataFrame:
    analysis = analyses.load(name)
    needs = {need: given(need) for need in analysis.needs}
    lines = pd.DataFrame(analysis.formula(**needs, **SETTINGS.get(name, {})))
    if "seed" in lines:
        return lines
    return pd.concat([lines.assign(seed=seed) for seed in range(seeds)], ignore_index=True)


def settings(name: str) -> dict[str, Any]:
    defaults = {key: parameter.default for key, parameter in analyses.load(name).parameters.items()}
    return defaults | SETTINGS.get(name, {})


def marks(figure: Any) -> Iterator[Any]:  # noqa: ANN401
    for axes in figure.axes:
        yield from (*axes.lines, *axes.collections, *axes.images, *axes.patches)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("name", analyses.names())
def test_every_analysis_is_drawn(name: str, seeds: int) -> None:
    figure = drawn(name, table(name, seeds), {"cars": "Cars"})
    assert list(marks(figure))
    files = rendered(figure, name)
    assert {*files} == {f"{name}.{form}" for form in FORMS}
    assert files == rendered(drawn(name, table(name, seeds), {"cars": "Cars"}), name)


@pytest.mark.parametrize("name", analyses.names())
def test_every_analysis_has_a_caption_and_a_place_on_the_page(name: str) -> None:
    caption = load(name).caption(table(name, 1), settings(name))
    assert caption.endswith(".")
    assert len(caption) > 60
    text = page({name: table(name, 3)}, {name: settings(name)})
    assert f"## {analyses.load(name).title}" in text
    assert f"({name}.png)" in text


@pytest.mark.parametrize("name", analyses.names())
def test_every_analysis_says_what_its_table_holds(name: str) -> None:
    documented = analyses.load(name).formula.__doc__ or ""
    for column in {*table(name, 1).columns} - {"seed"}:
        assert f"`{column}`" in documented, column


def test_overlap_of_several_seeds_has_these_on_the_diagonal() -> None:
    shares = {(0, 0): 0.5, (1, 1): 0.7, (0, 1): 0.2, (1, 0): 0.2}
    lines = [
        {"region": f"{a}, τ 1 %", "other": f"{b}, τ 1 %", "seed": s, "other_seed": t, "tau": 0.01}
        | {"jaccard": 1.0 if (a, s) == (b, t) else share if a != b else 0.3}
        for a, b in (("x", "x"), ("x", "y"), ("y", "x"), ("y", "y"))
        for (s, t), share in shares.items()
    ]
    (image,) = drawn("overlap", pd.DataFrame(lines), {}).axes[0].images
    assert image.get_array().round(6).tolist() == [[0.3, 0.6], [0.6, 0.3]]
    assert "different seeds" in load("overlap").caption(pd.DataFrame(lines), {})


def test_figures_that_read_as_zero_have_no_sign() -> None:
    from tatr.report.style import cells, figure

    _, (axes,) = figure(3, 2)
    cells(axes, [[-0.001, -1.5]], ["a"], ["b", "c"], "{:.2f}")
    assert [text.get_text() for text in axes.texts] == ["0.00", "−1.50"]


def test_captions_say_over_how_many_seeds() -> None:
    assert "means over 3 seeds" in load("contrasts").caption(table("contrasts", 3), settings("contrasts"))
    assert "one seed" in load("contrasts").caption(table("contrasts", 1), settings("contrasts"))


def test_intervals_over_seeds_are_students() -> None:
    values = np.array([1.0, 2.0, 4.5])
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_over_seeds([*values]) == pytest.approx((2.5, low, high))
    lines = pd.DataFrame({"row": ["a"] * 3, "x": values, "x_low": 0.0, "x_high": 9.0, "seed": range(3)})
    (line,) = with_intervals(lines, ["row"], "x").to_numpy().tolist()
    assert line == ["a", pytest.approx(2.5), pytest.approx(low), pytest.approx(high)]
    (line,) = with_intervals(lines[:1], ["row"], "x").to_numpy().tolist()
    assert line == ["a", 1, 0, 9]


def test_an_interval_over_one_seed_is_refused() -> None:
    with pytest.raises(TatrError, match=r"two seeds or more; give `seeds"):
        mean_over_seeds([1.0])


def test_every_analysis_runs_in_ci_and_is_explained() -> None:
    root = Path(__file__).parents[3]
    config = yaml.safe_load((root / "tests/workflow/configs/analyses.yaml").read_text(encoding="utf-8"))
    explained = (root / "docs/analyses.md").read_text(encoding="utf-8")
    assert {*config["analyses"]} == {*analyses.names()}
    for name in analyses.names():
        assert f"| `{name}` |" in explained, name


def test_an_analysis_that_is_not_there_is_named() -> None:
    with pytest.raises(TatrError, match=r"analysis 'similarities': unknown; expected one of .*similarity"):
        analyses.load("similarities")


@pytest.mark.parametrize("name", analyses.names())
def test_what_analyses_need_is_planned_opened_and_read(name: str) -> None:
    opening = importlib.import_module("tatr.workflow.analysis_inputs")
    planned = importlib.import_module("tatr.workflow.plan.analyses")
    step = importlib.import_module("tatr.workflow.step").step("analysis")
    for need in analyses.load(name).needs:
        assert need in opening.OPENED
        assert need in planned.NEEDS
        assert need in step.reads


def test_rows_and_curves_get_their_own_names() -> None:
    table = pd.DataFrame(
        {
            "row": ["Ties", "Ties (2)", "MagMax", "Ties + gradient"],
            "other": ["MagMax", "Ties", "mine", "Ties + SVC"],
            "curve": ["Ties + gradient, n 8", "Ties, density 0.1 + gradient", "MagMax + gradient", "Ties + SVC + ntk"],
            "task": ["Ties"] * 4,
        }
    )
    names = {"Ties": "MagMax", "MagMax": "Ties", "Ties (2)": "third", "Ties + SVC": "calibrated"}
    found = renamed(table, names)
    assert [*found["row"]] == ["MagMax", "third", "Ties", "Ties + gradient"]
    assert [*found["other"]] == ["Ties", "MagMax", "mine", "calibrated"]
    curves = ["MagMax + gradient, n 8", "Ties, density 0.1 + gradient", "Ties + gradient", "calibrated + ntk"]
    assert [*found["curve"]] == curves
    assert [*found["task"]] == ["Ties"] * 4
    assert renamed(table, {}).equals(table)
