"""Figures of the paper and of others beside ours: which rows have them, and what is expected of individual models."""

from typing import Any, ClassVar

import pytest
from planned_configs import OPENAI, PAPER, one, planned

from tatr.config.suites import SUITES
from tatr.errors import TatrError


class TestPaper:
    def test_rows_of_the_paper_are_beside_ours(self) -> None:
        merges = [{"method": "task_arithmetic", "coefficient": λ} for λ in (0.3, 0.4)]
        settings = planned(PAPER, backbone=OPENAI, merges=merges).table_settings
        paper = {row["name"]: row.get("paper", {}).get("method") for row in settings["rows"]}
        assert paper == {
            "Pre-trained": "Pre-trained",
            "Individual": "Individual",
            "Task Arithmetic, λ 0.3": "Task Arithmetic",
            "Task Arithmetic, λ 0.4": None,
        }
        assert settings["paper"]["backbone"] == "ViT-B-32"

    def test_other_tasks_or_weights_are_not_the_papers(self) -> None:
        assert "paper" not in planned(PAPER[:-1], backbone=OPENAI).table_settings
        assert "paper" not in planned(PAPER, backbone=OPENAI | {"weights": "metaclip_400m"}).table_settings
        assert "paper" not in planned().table_settings

    def test_the_papers_individual_models_are_expected_where_it_has_them(self) -> None:
        plan = planned(PAPER, backbone=OPENAI, sanity={"expected": "paper", "tolerance": 0.5})
        assert plan.sanity
        assert plan.sanity.settings["expected"]["stanford_cars"] == 77.7
        assert {p.label for p in plan.sanity.inputs["evaluations"]} == {f"individual_{task}" for task in PAPER}
        with pytest.raises(TatrError, match=r"sanity\.expected: paper: the paper's tables cover ViT-B/32"):
            planned(sanity={"expected": "paper"})

    def test_expectations_of_ones_own(self) -> None:
        plan = planned(sanity={"expected": {"cars": 90, "textures": 95}})
        assert plan.sanity
        assert plan.sanity.settings["expected"] == {"cars": 90.0}, "textures is not in the suite"
        assert planned().sanity is None


class TestPublished:
    SUITE: ClassVar[dict[str, Any]] = {"suite": "vision8", "backbone": OPENAI}
    MERGES: ClassVar[list[dict[str, Any]]] = [
        {"method": "task_arithmetic", "calibration": [None, "svc", {"alpha": 0.5}]},
        {"method": "task_arithmetic", "trust_region": {"tau": 0.01}},
        {"method": "task_arithmetic", "weights": {"mnist": 2}},
        {"method": "task_arithmetic", "coefficient": {"*attn*": 0.5}},
        {"method": "task_arithmetic", "surgery": {}},
    ]

    def test_averages_stand_beside_plain_and_calibrated_merges_of_a_suite(self) -> None:
        settings = planned(**self.SUITE, merges=self.MERGES).table_settings
        assert settings["published"] == {"backbone": "ViT-B-32", "suite": "vision8"}
        listed = [[(f["set"], f["average"]) for f in row.get("published", ())] for row in settings["rows"]]
        individual = [("TALL-masks", 92.8), ("Task Arithmetic", 90.5), ("FusionBench", 90.3)]
        plain, calibrated = [("Task Arithmetic", 68.9), ("FusionBench", 68.0)], [("Task Arithmetic", 81.9)]
        assert listed == [[], individual, plain, calibrated, [], [], [], [], []]

    @pytest.mark.parametrize(
        "keys",
        [
            {"unseen": ["kmnist"]},
            {"suite": SUITES["vision8"][:-1]},
            {"backbone": OPENAI | {"weights": "metaclip_400m"}},
            {"backbone": "tiny-clip"},
        ],
    )
    def test_other_tasks_or_models_have_none(self, keys: dict[str, Any]) -> None:
        settings = planned(**self.SUITE | keys, merges=self.MERGES).table_settings
        assert "published" not in settings
        assert not any("published" in row for row in settings["rows"])

    def test_sanity_knows_the_sets_whatever_is_expected(self) -> None:
        plans = [
            planned([*PAPER, "stl10"], backbone=OPENAI, sanity={"expected": e}) for e in ("published", {"dtd": 79})
        ]
        published, own = (plan.sanity.settings for plan in plans if plan.sanity)
        assert published["expected"] is None
        assert published["sets"] == own["sets"]
        assert own["expected"] == {"dtd": 79.0}
        assert [(s["set"], len(s["accuracies"]), s["leaked"]) for s in own["sets"]] == [
            *(("TALL-masks", 9, ["dtd"]), ("Task Arithmetic", 9, []), ("FusionBench", 8, [])),
        ]
        assert "sets" not in one(planned(sanity={"expected": {"cars": 90}}), "sanity").settings
        with pytest.raises(TatrError, match=r"sanity\.expected: published: the published sets have ViT-B/32"):
            planned(sanity={"expected": "published"})

    def test_what_is_expected_changes_the_check_and_the_table_alone(self) -> None:
        paper, other = (planned(**self.SUITE, sanity={"expected": expected}) for expected in ("paper", "published"))
        changed = {"sanity", "tables", "figures", "report"}
        assert {kind for kind, name in paper if (kind, name) not in other} == changed

    def test_a_task_is_known_by_what_the_paper_calls_it(self) -> None:
        tasks = {"textures": {"source": "hub", "dataset": "a/b", "classnames": ["a", "b"], "paper": "DTD"}}
        plan = planned(["textures", "mnist"], tasks=tasks, backbone=OPENAI, sanity={"expected": "published"})
        first = one(plan, "sanity").settings["sets"][0]
        assert (first["accuracies"], first["leaked"]) == ({"mnist": 99.7, "textures": 98.0}, ["textures"])
