"""Rows class by class, and which classes are taken for which."""

import numpy as np
import pandas as pd
import pytest

from tatr.measuring.predictions import Predictions
from tatr.report.page.details import OTHERS, SHOWN, confusions, hardest, per_class, pooled


def answers(seed: int, classes: int, images: int = 400) -> Predictions:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images, np.int32)
    predicted = np.where(random.random(images) < 0.6, labels, random.integers(0, classes, images, np.int32))
    return Predictions(predicted, labels, random.random(images).astype(np.float32))


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Predictions]]:
    return {
        name: {"cars": answers(seed, 3), "signs": answers(seed + 9, SHOWN + 12)} for seed, name in enumerate(("a", "b"))
    }


@pytest.fixture(scope="module")
def classes(rows: dict[str, dict[str, Predictions]]) -> pd.DataFrame:
    return per_class(rows, {"cars": ["red", "green", "blue"], "signs": [str(n) for n in range(SHOWN + 12)]})


def test_each_class_has_its_images_accuracy_and_mean_loss(
    rows: dict[str, dict[str, Predictions]], classes: pd.DataFrame
) -> None:
    its = rows["b"]["cars"]
    line = classes.set_index(["method", "task", "class"]).loc["b", "cars", "green"]
    chosen = its.labels == 1
    assert line["images"] == chosen.sum()
    assert line["accuracy"] == pytest.approx(100 * (its.predicted[chosen] == 1).mean())
    assert line["loss"] == pytest.approx(its.losses[chosen].mean(), rel=1e-6)


def test_of_many_classes_those_with_the_most_errors_are_drawn(classes: pd.DataFrame) -> None:
    errors = (classes["images"] * (100 - classes["accuracy"])).round(6)
    drawn = hardest(classes)
    for key, its in classes.groupby(["method", "task"]):
        kept = drawn[(drawn["method"] == key[0]) & (drawn["task"] == key[1])].index
        assert len(kept) == min(len(its), SHOWN)
        left_out = its.index.difference(kept)
        assert left_out.empty or errors[kept].min() >= errors[left_out].max()


def test_every_image_of_a_drawn_class_is_counted_once(
    rows: dict[str, dict[str, Predictions]], classes: pd.DataFrame
) -> None:
    drawn = hardest(classes)
    found = confusions(rows, drawn)
    counted = found.groupby(["method", "task", "label"])["images"].sum()
    expected = drawn.set_index(["method", "task", "label"])["images"]
    assert counted.to_dict() == expected.to_dict()
    right = found[found["label"] == found["predicted"]].set_index(["method", "task", "label"])["images"]
    line = drawn.set_index(["method", "task", "label"])
    expected = (line["images"] * line["accuracy"] / 100).round()
    assert (right == expected[right.index]).all()
    assert OTHERS in set(found.loc[found["task"] == "signs", "predicted"])
    assert OTHERS not in set(found.loc[found["task"] == "cars", "predicted"])


def test_answers_of_several_evaluations_and_seeds_are_put_together() -> None:
    one, two, three = (answers(seed, 3, 10) for seed in range(3))
    seeds = [{"rows": [{"name": "a", "evaluations": names}]} for names in (["x", "shared"], ["y", "shared"])]
    found = pooled({"seeds": seeds}, {"x": {"cars": one}, "y": {"cars": two}, "shared": {"signs": three}})
    assert found["a"]["cars"].labels.tolist() == [*one.labels, *two.labels]
    assert len(found["a"]["signs"]) == 10
