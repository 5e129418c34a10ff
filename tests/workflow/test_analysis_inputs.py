"""Artefacts as analyses look at them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tatr.errors import TatrError
from tatr.measuring.predictions import FILE, Predictions, save_predictions
from tatr.workflow.analysis_inputs import open_needs
from tatr.workflow.artefact import Artefact
from tatr.workflow.job import Job, Settings


@pytest.fixture
def evaluation(make_artefact: Callable[..., Artefact]) -> Artefact:
    """Of two merged tasks and an unseen one."""

    def write(folder: Path) -> dict[str, str]:
        labels = np.zeros(3, np.int32)
        its = {task: Predictions(labels, labels, np.zeros(3, np.float32)) for task in ("cars", "digits", "signs")}
        (folder / "scores.json").write_text("{}")
        return {"scores.json": "x", FILE: save_predictions(its, folder / FILE)}

    return make_artefact("evaluation", "e", {"unseen": ["signs"]}, write)


def job(need: str, *artefacts: Artefact, labels: int = 1) -> Job:
    settings = Settings({"analysis": "a", "labels": {need: [{"row": str(index)} for index in range(labels)]}})
    return Job(settings, {need: [*artefacts]}, None, Path(), Path(), "")


@pytest.mark.parametrize("need", ["rows", "components"])
def test_rows_are_looked_at_on_the_tasks_that_are_merged(need: str, evaluation: Artefact) -> None:
    (row,) = open_needs(job(need, evaluation), [need])[need]
    assert row.labels == {"row": "0"}
    assert {*row.content.predictions} == {"cars", "digits"}


def test_splits_are_about_the_unseen_tasks_too(evaluation: Artefact) -> None:
    (split,) = open_needs(job("splits", evaluation), ["splits"])["splits"]
    assert {*split.content.predictions} == {"cars", "digits", "signs"}


def test_what_is_not_given_is_named(evaluation: Artefact) -> None:
    with pytest.raises(TatrError, match="--rows: the analysis 'a' needs it"):
        open_needs(job("rows"), ["rows"])
    with pytest.raises(TatrError, match=r"labels.rows: 2 for 1 artefacts"):
        open_needs(job("rows", evaluation, labels=2), ["rows"])
