"""Definition 1 and Eq. 4, as they are printed."""

import numpy as np
import pytest
from analysis_examples import SHAPES, TASKS, results
from scipy import stats

from tatr.config.loading import load_config
from tatr.errors import TatrError
from tatr.report.analyses import Labelled, load
from tatr.report.plots.conflict import correlations, totals
from tatr.vectors.layout import Layout

SIZE = Layout.of(SHAPES).size
MASK = np.arange(SIZE) % 3 > 0
RNG = np.random.default_rng(0)
TASK_VECTORS = {task: RNG.standard_normal(SIZE).astype(np.float32) for task in TASKS}
GRADIENTS = {task: RNG.standard_normal(SIZE).astype(np.float32) for task in TASKS}
MERGES = [
    Labelled({"region": region, "left_out": left_out}, results(10 * number + index, tasks=TASKS))
    for number, region in enumerate(("none", "inside"))
    for index, left_out in enumerate(("", *TASKS))
]
REGIONS = [Labelled({"region": "inside"}, MASK)]


def lines() -> list[dict[str, object]]:
    return list(load("conflict").formula(TASK_VECTORS, GRADIENTS, REGIONS, MERGES, coefficient=0.2))


def test_conflicts_are_differences_of_losses() -> None:
    found = {(line["region"], line["task"], line["left_out"]): line["conflict"] for line in lines()}
    assert len(found) == 2 * 3 * 3
    loss = {tuple(merge.labels.values()): merge.content.predictions for merge in MERGES}
    for (region, task, left_out), value in found.items():
        whole, without = (loss[region, name][task].losses.mean(dtype=np.float64) for name in ("", left_out))
        assert value == pytest.approx(whole - without, abs=1e-12)


def test_predictions_are_inner_products_inside_the_region() -> None:
    for line in lines():
        mask = MASK if line["region"] == "inside" else 1
        gradient, task_vector = GRADIENTS[line["task"]].astype(np.float64), TASK_VECTORS[line["left_out"]]
        assert line["predicted"] == pytest.approx(0.2 * gradient @ (task_vector * mask), rel=1e-9)


def test_sum_and_correlation_leave_out_what_a_task_does_to_itself() -> None:
    import pandas as pd

    table = pd.DataFrame(lines()).assign(seed=0)
    apart = table[(table["task"] != table["left_out"]) & (table["region"] == "inside")]
    assert totals(table)["inside"].value == pytest.approx(apart["conflict"].sum())
    pearson, spearman = correlations(table)["inside"]
    assert pearson.value == pytest.approx(stats.pearsonr(apart["predicted"], apart["conflict"])[0])
    assert spearman.value == pytest.approx(stats.spearmanr(apart["predicted"], apart["conflict"])[0])
    assert np.isnan(pearson.low)


def test_a_missing_merge_is_named() -> None:
    with pytest.raises(TatrError, match=r"no evaluation without 'digits' \(inside\)"):
        list(
            load("conflict").formula(
                TASK_VECTORS, GRADIENTS, REGIONS, [m for m in MERGES if [*m.labels.values()] != ["inside", "digits"]]
            )
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "tied"}, r"analyses.conflict.method: 'tied': unknown method; known: .*ties"),
        ({"method": "ada_merging"}, r"'ada_merging': learns from images of all tasks"),
        ({"method": "ada_rank"}, r"'ada_rank': learns from images of all tasks"),
        ({"sensitivity": "none"}, r"'none': unknown sensitivity; known: .*gradient"),
        ({"sensitivity": "positive"}, r"'positive': its trust region has no τ"),
        ({"coefficient": 0}, r"analyses.conflict.coefficient: 0: expected a number above 0"),
        ({"tau": 1}, r"analyses.conflict.tau: 1: expected a number from 0 to below 1"),
    ],
)
def test_bad_settings_are_told(settings: dict[str, object], message: str) -> None:
    config = {"suite": ["a", "b"], "merges": [{"method": "ties"}], "analyses": {"conflict": settings}}
    tasks = {name: {"source": "tiny8"} for name in ("a", "b")}
    with pytest.raises(TatrError, match=message):
        load_config(config, tasks)
