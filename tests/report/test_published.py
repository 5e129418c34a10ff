"""Published sets of individual models and published averages: what they say, and which of our rows have one."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tatr.config.merges import Merge
from tatr.config.suites import VISION
from tatr.merging.methods import load, names
from tatr.report.paper.matching import individual
from tatr.report.published.averages import INDIVIDUAL, Published, all_lines, published, recipe
from tatr.report.published.comparison import as_text, compare, files
from tatr.report.published.sets import LEAKED, individual_models, task_of_sets

BACKBONES = ("ViT-B-32", "ViT-B-16", "ViT-L-14")
NOT_HERE = {"cat", "esm", "lot", "regmean_plus_plus"}
"""Methods with published averages that may not be here yet."""


def figures(raw: dict[str, Any], backbone: str = "ViT-B-32", tasks: int = 8) -> list[tuple[str, float]]:
    merge = Merge.model_validate(raw)
    wanted = {"method": merge.method, "settings": merge.settings, "coefficients": merge.coefficients}
    wanted |= {"calibration": merge.calibration.method if merge.calibration else ""}
    return [(figure.set, figure.average) for figure in published(wanted, backbone, tasks)]


class TestData:
    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_individual_models_are_of_the_suites_tasks_and_agree_with_the_paper(self, backbone: str) -> None:
        sets = individual_models(backbone)
        papers = {task_of_sets("", name): accuracy for name, accuracy in individual(backbone).items()}
        assert papers.items() <= sets["Task Arithmetic"].items()
        assert {name: [*accuracies] for name, accuracies in sets.items()} == {
            **{"TALL-masks": [*VISION], "Task Arithmetic": [*VISION]},
            "FusionBench": [*VISION[:8]],
        }
        assert all(task in sets[name] for name, tasks in LEAKED.items() for task in tasks)

    def test_averages_of_individual_models_are_the_means_of_their_accuracies(self) -> None:
        lines = [line for line in all_lines() if line["method"] == INDIVIDUAL]
        assert len(lines) == 9 + 7 + 3
        for line in lines:
            of_tasks = individual_models(line["backbone"])[line["set"]]
            mean = np.mean([of_tasks[task] for task in VISION[: int(line["tasks"])]])
            assert float(line["average"]) == pytest.approx(mean, abs=0.1), line

    def test_every_line_can_be_read(self) -> None:
        for line in all_lines():
            assert line["set"] in individual_models(line["backbone"]), line
            assert int(line["tasks"]) in (8, 14, 20), line
            assert line["calibration"] in ("", "svc"), line
            assert line["certainty"] in ("authors' table", "others' table", "second hand"), line
            assert 50 < float(line["average"]) <= float(line["normalised"] or 100), line
            if line["method"] in names():
                assert recipe(line["only"]).keys() <= {*load(line["method"]).parameters, "coefficient"}, line
        assert {line["method"] for line in all_lines()} - {*names()} <= NOT_HERE | {INDIVIDUAL}


class TestMatching:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            ({"method": "dc_merge"}, [("TALL-masks", 87.1)]),
            ({"method": "cart", "scale": 1.0}, [("Task Arithmetic", 84.7)]),
            (
                {"method": "tsv_m", "coefficient": {"search": [0.5, 1.0]}},
                [("TALL-masks", 85.9), ("Task Arithmetic", 84.0)],
            ),
            ({"method": "tsv_m", "calibration": "svc"}, [("Task Arithmetic", 84.8)]),
            ({"method": "task_arithmetic"}, [("Task Arithmetic", 68.9), ("FusionBench", 68.0)]),
            ({"method": "task_arithmetic", "calibration": "svc"}, [("Task Arithmetic", 81.9)]),
            ({"method": "task_arithmetic", "coefficient": 0.4}, []),
            ({"method": "task_arithmetic", "coefficient": {"search": [0.3, 0.4]}}, []),
            ({"method": "ties"}, [("FusionBench", 72.2)]),
            ({"method": "ties", "combine": "mean", "scope": "tensor", "coefficient": 1}, [("Task Arithmetic", 72.6)]),
            ({"method": "ties", "density": 0.1}, []),
            ({"method": "dare", "drop": 0.8, "coefficient": 0.125}, [("Task Arithmetic", 65.8)]),
            ({"method": "ada_merging"}, [("FusionBench", 82.6)]),
            ({"method": "ada_merging", "density": 0.2}, []),
            ({"method": "ada_rank"}, [("Task Arithmetic", 87.9)]),
            ({"method": "ada_rank", "base": "mean"}, [("Task Arithmetic", 89.2)]),
            ({"method": "ada_rank", "split": "validation"}, []),
            ({"method": "magmax"}, []),
        ],
    )
    def test_methods_are_compared_and_settings_where_several_forms_are_in_use(
        self, raw: dict[str, Any], expected: list[tuple[str, float]]
    ) -> None:
        assert figures(raw) == expected

    def test_a_figure_is_of_one_backbone_and_number_of_tasks(self) -> None:
        iso = {"method": "iso_cts"}
        assert [figures(iso, name, 20) for name in BACKBONES] == [[("TALL-masks", n)] for n in (78.1, 82.4, 90.1)]
        assert figures({"method": "cart"}, "ViT-B-16") == []


FIGURES = (
    Published("TALL-masks", "TSV-M", "", 85.9, 92.3, "ESM's table", "others' table"),
    Published("Task Arithmetic", "TSV-M", "λ 1", 84.0, None, "SVC's table", "second hand"),
)
ROWS = ({"name": "Pre-trained"}, {"name": "TSV|M", "published": [asdict(figure) for figure in FIGURES]})
SETTINGS = {"rows": ROWS, "digits": 1, "published": {"backbone": "ViT-B-32", "suite": "vision8"}}
FOUND = {"nearest": "TALL-masks", "matched": True, "tolerance": 1.0, "deviations": {"TALL-masks": 0.1}, "tasks": 8}


class TestComparison:
    @pytest.fixture
    def table(self) -> pd.DataFrame:
        columns = {"method": ["Pre-trained", "TSV|M"], "average": [48.0, 86.0], "normalised": [np.nan, 92.5]}
        return pd.DataFrame(columns).set_index("method")

    def test_a_line_per_figure_ours_beside_it(self, table: pd.DataFrame) -> None:
        compared = compare(table, ROWS)
        np.testing.assert_allclose(compared["difference"], [0.1, 2.0])
        np.testing.assert_allclose(compared["published_normalised"].astype(float), [92.3, np.nan])
        assert as_text(compared, 1)[1:] == [
            ["TSV|M", "TALL-masks", "TSV-M", "ESM's table, others' table", "85.9 (92.3)", "86.0 (92.5)", "+0.1"],
            ["", "Task Arithmetic", "TSV-M (λ 1)", "SVC's table, second hand", "84.0", "86.0 (92.5)", "+2.0"],
        ]

    @pytest.mark.parametrize(
        ("found", "sets", "said"),
        [
            (None, 2, "The sets of checkpoints differ: one method's averages by up to five points."),
            (FOUND | {"matched": False}, 2, "The nearest is TALL-masks, off by 0.1 points"),
            (FOUND, 1, "match the checkpoints of TALL-masks"),
            (FOUND | {"nearest": "Other", "deviations": {"Other": 0.0}}, 0, "There are none."),
        ],
    )
    def test_only_figures_of_the_set_that_our_models_match_are_shown(
        self, table: pd.DataFrame, found: dict[str, Any] | None, sets: int, said: str
    ) -> None:
        written = files(table, SETTINGS, found, ["look out"])
        assert len(written["published.csv"].splitlines()) == 1 + sets
        for name in ("published.md", "published.html", "published.json"):
            assert said.split("'")[0] in written[name]
        assert "**⚠ look out**" in written["published.md"]
        assert (r"TSV\|M" in written["published.md"]) == (sets > 0)
        assert ("test images among its training images" in written["published.md"]) == (sets > 0)
