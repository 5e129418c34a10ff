"""Analyses of the table's rows."""

import math

import pytest
from analysis_examples import ROWS, results

from tatr.report.analyses import Labelled, load
from tatr.report.statistics import average_accuracy, average_difference


def test_exemplar_curve() -> None:
    lines = list(load("exemplar_curve").formula(ROWS))
    assert [(line["row"], line["kind"], line["exemplars"]) for line in lines] == [
        ("TA", "without", 0),
        ("zero-shot", "zero_shot", 0),
        ("n 1", "curve", 1),
        ("n 16", "curve", 16),
    ]
    assert {line["curve"] for line in lines} == {"TA + gradient, τ 1 %"}
    value, low, high = (100 * figure for figure in average_accuracy(ROWS[3].content.predictions))
    assert [lines[2][key] for key in ("accuracy", "accuracy_low", "accuracy_high")] == [value, low, high]


def test_tau_curve() -> None:
    lines = list(load("tau_curve").formula(ROWS))
    assert [(line["row"], line["tau"]) for line in lines] == [("TA", 0), ("n 16", 0.01), ("τ 2", 0.02)]
    assert {line["curve"] for line in lines} == {"TA + gradient, n 16"}


def test_rows_that_are_called_alike_are_on_curves_of_their_own() -> None:
    held_out = [
        Labelled({**row.labels, "row": f"{row.labels['row']} ‡", "but_for_region": "other"}, row.content)
        for row in ROWS
    ]
    lines = list(load("exemplar_curve").formula([*ROWS, *held_out]))
    assert [line["row"].endswith("‡") for line in lines] == [False] * 4 + [True] * 4


def test_a_region_of_size_0_is_the_curves_beginning() -> None:
    nothing = Labelled({**ROWS[2].labels, "row": "τ 0", "tau": 0.0}, ROWS[2].content)
    lines = list(load("tau_curve").formula([*ROWS, nothing]))
    assert [line["row"] for line in lines] == ["τ 0", "n 16", "τ 2"]


def test_coefficient_curve() -> None:
    tried = [{"tau": None, "coefficient": c, "validation": c / 2} for c in (0.2, 0.3)]
    both = [{"tau": t, "coefficient": c, "validation": 0.5} for t in (0.1, 0.2) for c in (0.2, 0.3)]
    rows = [
        Labelled({"row": "fixed"}, results(0)),
        Labelled({"row": "λ"}, results(0, *tried)),
        Labelled({"row": "τ"}, results(0, *({**its, "coefficient": 0.3} for its in both))),
        Labelled({"row": "both"}, results(0, *both, tau=0.2)),
    ]
    lines = list(load("coefficient_curve").formula(rows))
    assert [line["row"] for line in lines] == ["λ"] * 2 + ["both"] * 4
    assert [line["accuracy"] for line in lines[:2]] == [10, 15]
    assert [line["taken"] for line in lines] == [False, True, False, False, False, True]
    assert math.isnan(lines[0]["tau"])


def test_contrasts() -> None:
    pairs = (("n 16", "n 1"), ("TA", "n 16"))
    lines = list(load("contrasts").formula(ROWS, pairs=pairs))
    assert [(line["row"], line["other"]) for line in lines] == [*pairs]
    expected = average_difference(ROWS[2].content.predictions, ROWS[3].content.predictions)
    found = [lines[0][key] for key in ("difference", "difference_low", "difference_high")]
    assert found == pytest.approx([100 * figure for figure in expected])


def test_generalization() -> None:
    tasks = ("cars", "digits", "textures")
    without, inside = (results(seed, tasks=tasks) for seed in (0, 1))
    splits = [Labelled({"split": "digits", "region": r}, its) for r, its in (("none", without), ("gradient", inside))]
    merged, unseen = load("generalization").formula(splits, unseen=(("digits",),))
    assert (merged["split"], merged["tasks"], unseen["tasks"]) == ("digits", "merged", "unseen")
    assert unseen["without"] == 100 * without.predictions["digits"].right.mean()
    accuracies = [100 * inside.predictions[task].right.mean() for task in ("cars", "textures")]
    assert merged["inside"] == pytest.approx(sum(accuracies) / 2)
    assert unseen["difference"] == pytest.approx(unseen["inside"] - unseen["without"])
    assert merged["difference_low"] <= merged["difference"] <= merged["difference_high"]
