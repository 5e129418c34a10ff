"""Individual models that learnt next to nothing are remarked on; others are not."""

from math import log

import numpy as np
import pytest

from tatr.measuring.predictions import Predictions
from tatr.report.learning import learnt_little

CLASSES = 4
ROWS = [
    {"name": "Pre-trained", "evaluations": ["p"], "reference": True},
    {"name": "Individual", "evaluations": ["i"], "reference": True},
    {"name": "Individual", "evaluations": ["m"], "reference": False},
]


def answers(accuracy: float, loss: float = log(CLASSES), images: int = 400) -> Predictions:
    """As many right answers as that, of a balanced task."""
    labels = np.arange(images) % CLASSES
    wrong = np.arange(images) >= round(accuracy * images)
    return Predictions((labels + wrong) % CLASSES, labels, np.full(images, loss))


def remarks(before: Predictions, after: Predictions) -> list[str]:
    predictions = {"p": {"cars": before}, "i": {"cars": after}, "m": {"cars": answers(0.25)}}
    return learnt_little([ROWS], predictions, ["cars"], {"cars": "Cars"})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (0.25, 0.6),  # far from guessing
        (0.6, 0.7),
        (0.95, 0.95),  # there was hardly anything left to learn
        (0.95, 0.93),
    ],
)
def test_what_learnt_something_is_not_remarked_on(before: float, after: float) -> None:
    assert remarks(answers(before), answers(after)) == []


@pytest.mark.parametrize("before", [0.25, 0.9])
def test_no_better_than_guessing(before: float) -> None:
    (text,) = remarks(answers(before), answers(0.27, loss=1.38))
    assert text.startswith(
        "The individual model of Cars learnt next to nothing: 27.0 % of its test images are right, and 25.0 % would be "
        "if it always answered the most frequent of 4 classes; its loss is 1.38, and that of guessing ln 4 = 1.39. "
        "Try more steps"
    )
    assert "finetuning.tasks.cars" in text


def test_the_most_frequent_class_is_no_skill() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    always = Predictions(np.zeros(100, int), labels, np.full(100, 0.3))
    (text,) = remarks(answers(0.5), always)
    assert "90.0 % of its test images are right, and 90.0 % would be" in text


@pytest.mark.parametrize("after", [0.5, 0.6, 0.61])
def test_no_better_than_before(after: float) -> None:
    (text,) = remarks(answers(0.6), answers(after))
    assert f"Cars is hardly better than the pre-trained one: {100 * after:.1f} % on test, 60.0 % before. Try" in text


def test_seeds_are_judged_together() -> None:
    rows = [[ROWS[0], {**ROWS[1], "evaluations": [f"i{seed}"]}] for seed in (0, 1)]
    predictions = {"p": {"cars": answers(0.25)}, "i0": {"cars": answers(0.25)}, "i1": {"cars": answers(0.75)}}
    assert learnt_little(rows, predictions, ["cars"], {}) == []
    assert len(learnt_little(rows[:1], predictions, ["cars"], {})) == 1


def test_an_imported_model_is_not_to_be_trained_longer() -> None:
    predictions = {"p": {"cars": answers(0.25)}, "i": {"cars": answers(0.25)}}
    trained, imported = (learnt_little([ROWS[:2]], predictions, ["cars"], {}, those)[0] for those in ((), ("cars",)))
    assert "Try more steps" in trained
    assert "steps" not in imported
    assert "Look at whether it is of this task" in imported
