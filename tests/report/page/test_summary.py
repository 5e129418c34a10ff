"""The five sentences at the top of the report."""

import re
from typing import Any

import pandas as pd
from answered import answered, scores

from tatr.report.page.summary import best_training_free, sentences
from tatr.report.seeds import over_seeds
from tatr.report.tables import methods_table

SETTINGS = {"tasks": ["cars", "digits"], "names": {"cars": "Cars"}, "digits": 1}


def table_of(seed: int = 0, **merges: tuple[float, dict[str, Any]]) -> pd.DataFrame:
    """A table of two references and of merges, each with one accuracy for both tasks and further keys of its row."""
    accuracies = {"Pre-trained": 0.4, "Individual": 0.9} | {name: accuracy for name, (accuracy, _) in merges.items()}
    rows = [{"name": name, "evaluations": [name], "reference": name not in merges} for name in accuracies]
    for row in rows:
        row |= merges.get(row["name"], (0, {}))[1]
    found = {name: scores(0.3, cars=accuracy, digits=accuracy) for name, accuracy in accuracies.items()}
    predictions = {name: answered(seed, cars=accuracy, digits=accuracy) for name, accuracy in accuracies.items()}
    return methods_table(rows, found, predictions, SETTINGS["tasks"])


def summary(table: pd.DataFrame, warnings: tuple[str, ...] = (), **settings: Any) -> list[str]:  # noqa: ANN401
    found = sentences(table, SETTINGS | settings, "tiny-clip", warnings)
    return [sentence.replace("\N{NO-BREAK SPACE}", " ") for sentence in found]


def test_they_are_five_and_say_what_was_merged_and_from_where_to_where() -> None:
    found = summary(table_of(ta=(0.6, {}), other=(0.55, {})))
    assert len(found) == 5
    assert found[0] == "2 individual models of tiny-clip (Cars and digits) were merged into one model in 2 ways."
    assert "40.0 % (Pre-trained) and 90.0 % (Individual); the merges reach 55.0 to 60.0 %." in found[1]
    assert found[3].startswith("No row inside a trust region")
    assert found[4] == "There are no warnings."


def test_the_best_training_free_merge_learns_from_no_unlabelled_images() -> None:
    table = table_of(ta=(0.6, {}), learnt=(0.7, {"unlabelled": "test"}))
    assert best_training_free(table) == "ta"
    assert re.search(
        r"best training-free merge is ta with 60\.0 % \(95 % interval [\d.]+ to [\d.]+\)\.", summary(table)[2]
    )
    assert best_training_free(table_of(learnt=(0.7, {"unlabelled": "test"}))) is None


def test_a_trust_region_is_significant_where_its_interval_excludes_zero() -> None:
    table = table_of(ta=(0.5, {}), inside=(0.6, {"without": ["ta"]}))
    assert re.search(
        r"region of inside changes the average by \+10\.0 points \[\+.*\], which is significant", summary(table)[3]
    )
    table = table_of(ta=(0.5, {}), inside=(0.501, {"without": ["ta"]}))
    assert "is not significant" in summary(table)[3]


def test_several_trust_regions_are_counted() -> None:
    table = table_of(
        ta=(0.5, {}), good=(0.6, {"without": ["ta"]}), bad=(0.4, {"without": ["ta"]}), same=(0.5, {"without": ["ta"]})
    )
    losses = summary(table.drop(index="good"))[3]
    assert re.search(r"largest change, −10\.0 points \[.*\] of bad, is significant", losses)
    sentence = summary(table)[3]
    assert "Of 3 rows inside a trust region, 1 are significantly better and 1 significantly worse" in sentence
    assert re.search(r"largest change, \+10\.0 points \[.*\] of good, is significant", sentence)


def test_seeds_unseen_tasks_and_warnings_are_named() -> None:
    tables = [table_of(seed, ta=(0.5 + seed / 50, {})) for seed in (0, 1)]
    rows = [[{"evaluations": [f"{name}{seed}"]} for name in tables[0].index] for seed in (0, 1)]
    found = summary(over_seeds(tables, rows), ("Beware.",), unseen=["signs"])
    assert "in one way, each with 2 seeds; signs is evaluated but not merged." in found[0]
    assert found[4] == "There is one warning, below."
