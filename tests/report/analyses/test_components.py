"""Analyses of components: accuracies of each, and landscapes."""

import math
from typing import Any

import pytest
from analysis_examples import planes, results

from tatr.report.analyses import Labelled, load
from tatr.report.statistics import average_accuracy
from tatr.settings import check


def test_components_have_an_accuracy_per_task_and_on_average() -> None:
    given = [Labelled({"component": name}, results(seed)) for seed, name in enumerate(("all", "negative"))]
    lines = list(load("components").formula(given))
    assert [(line["component"], line["task"]) for line in lines] == [
        (name, task) for name in ("all", "negative") for task in ("cars", "digits", "average")
    ]
    right = given[1].content.predictions["digits"].right
    assert lines[4]["accuracy"] == pytest.approx(100 * right.mean())
    keys = ("accuracy", "accuracy_low", "accuracy_high")
    assert [lines[5][key] for key in keys] == [100 * f for f in average_accuracy(given[1].content.predictions)]


def test_landscapes_sum_losses_over_tasks_and_say_where_the_pretrained_model_is() -> None:
    lines = list(load("landscapes").formula(planes()))
    assert [(line["landscape"], line["tau"]) for line in lines[::10]] == [("cars", 0.01), ("all", 0.01), ("all", 0.05)]
    own = next(line for line in lines if (line["landscape"], line["x"], line["y"]) == ("cars", 0.5, 1.2))
    both = next(line for line in lines if (line["landscape"], line["x"], line["y"]) == ("all", 0.5, 1.2))
    assert own["loss"] == pytest.approx(1 + 0.25 + 1.2)
    assert both["loss"] == pytest.approx(3 * (1 + 0.25 + 1.2))
    assert (own["accuracy"], both["accuracy"]) == (0.25, 0.5)
    pretrained = [line for line in lines if line["point"] == "pretrained"]
    assert [(line["x"], line["y"], line["distance"]) for line in pretrained] == 3 * [(0.1, 0.6, 2.5)]
    assert all(math.isnan(line["loss"]) for line in pretrained)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("landscapes", "taus", ()),
        ("landscapes", "taus", (0.1, 1.0)),
        ("landscapes", "taus", (0.1, 0.1)),
        ("landscapes", "tasks", ("cars", "cars")),
        ("components", "sensitivity", "positive"),
        ("components", "sensitivity", "nonsense"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name: str, key: str, value: Any) -> None:  # noqa: ANN401
    parameter = load(name).parameters[key]
    check(key, parameter.default, parameter.annotation)
    with pytest.raises(Exception, match=f"^{key} = "):
        check(key, value, parameter.annotation)
