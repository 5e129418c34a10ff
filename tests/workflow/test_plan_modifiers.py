"""What a plan makes of calibration, weights and λ by tensors."""

import pytest
from planned_configs import OPENAI, PAPER, names, one, planned

from tatr.errors import TatrError


class TestModifiers:
    """Calibration, weights of tasks, and λ by tensors."""

    def test_a_calibration_stands_between_a_merge_and_whoever_uses_it(self) -> None:
        merge = {"method": "task_arithmetic", "calibration": "svc", "trust_region": {"sensitivity": "zero_shot"}}
        plan = planned(merges=[merge | {"surgery": {}}])
        calibration = one(plan, "calibration")
        assert calibration.settings == {"method": "svc", "alpha": 1 / 2, "coefficient": 0.3}
        assert calibration.inputs["direction"] == [one(plan, "merge")]
        assert names(plan, "task_vector") == {planned.label for planned in calibration.inputs["task_vectors"]}
        for user, role in (("surgery", "direction"), ("export", "directions")):
            assert one(plan, user).inputs[role] == [calibration]
        row = plan.table_settings["rows"][-1]
        evaluation = plan["evaluation", row["evaluations"][0]]
        assert (evaluation.inputs["directions"], evaluation.settings["coefficients"]) == ([calibration], [1.0])
        assert row["coefficient"] == 0.3

    def test_tsv_m_has_an_alpha_of_its_own_unless_the_config_gives_one(self) -> None:
        merges = [{"method": "tsv_m", "calibration": ["svc", {"alpha": 0.25}]}]
        calibrations = planned(merges=merges).of_kind("calibration")
        assert [calibration.settings["alpha"] for calibration in calibrations] == [1, 0.25]

    def test_all_trust_regions_share_a_calibration_and_are_compared_with_it(self) -> None:
        taus = [{"sensitivity": "zero_shot", "tau": tau} for tau in (0.01, 0.1)]
        plan = planned(merges=[{"method": "ties", "calibration": [None, "svc"], "trust_region": [None, *taus]}])
        assert len(plan.of_kind("calibration")) == len(plan.of_kind("merge")) == 1
        assert len(plan.of_kind("mask")) == 2
        rows = plan.table_settings["rows"][2:]
        plain, *inside, calibrated, first, second = rows
        assert [row["without"] for row in inside] == [plain["evaluations"]] * 2
        assert [row["without"] for row in (first, second)] == [calibrated["evaluations"]] * 2

    @pytest.mark.parametrize(("method", "kind"), [("ada_merging", "adaptation"), ("ada_rank", "rank_adaptation")])
    def test_what_learns_inside_a_trust_region_is_calibrated_for_each(self, method: str, kind: str) -> None:
        region = {"sensitivity": "zero_shot", "tau": {"search": [0.01, 0.1]}}
        merges = [{"method": method, "calibration": [None, "svc"], "trust_region": region}]
        plan = planned(merges=merges)
        assert len(plan.of_kind("calibration")) == len(plan.of_kind("merge")) == len(plan.of_kind(kind)) == 2

    def test_weights_shape_what_is_measured_through_merged_blocks(self) -> None:
        merges = [{"method": "regmean_plusplus", "weights": each, "name": f"{each}"} for each in (None, {"cars": 2})]
        plan = planned(merges=merges)
        measured = {merge.settings.get("weights", {}).get("cars"): merge for merge in plan.of_kind("merge")}
        for weight, merge in measured.items():
            (grams,) = merge.inputs["merged_grams"]
            assert grams.settings.get("weights", {}).get("cars") == weight
        assert {*measured} == {None, 2}

    def test_weights_shape_the_merge_alone(self) -> None:
        weights = [None, {"cars": 2}, {"cars": 1}]
        merges = [{"method": "task_arithmetic", "weights": each, "name": f"{each}"} for each in weights]
        plan = planned(merges=merges)
        # A weight of 1 is no weight.
        assert [merge.settings.get("weights") for merge in plan.of_kind("merge")] == [None, {"cars": 2}]

    def test_lambda_by_tensors_is_the_evaluations_unless_something_is_calibrated(self) -> None:
        patterns = {"*.ln_*": 0, "*": 0.4}
        by_tensor = {"patterns": [["*.ln_*", 0], ["*", 0.4]], "otherwise": 0.3}
        merge = {"method": "task_arithmetic", "coefficient": patterns, "calibration": [None, "svc"]}
        plan = planned(merges=[{"method": "task_arithmetic"}, merge])
        assert len(plan.of_kind("merge")) == 1
        whole, scaled, calibrated = (
            plan["evaluation", row["evaluations"][0]] for row in plan.table_settings["rows"][2:]
        )
        assert scaled.inputs["directions"] == whole.inputs["directions"]
        assert (scaled.settings["coefficients"], calibrated.settings["coefficients"]) == ([by_tensor], [1.0])
        assert one(plan, "calibration").settings == {"method": "svc", "alpha": 1 / 2, "coefficient": by_tensor}
        stated = [export.settings.get("calibration", export.settings).get("coefficient") for export in plan.exports]
        assert stated == [None, by_tensor, by_tensor]
        # The table shows what each evaluation added: the factor 1.
        assert not any("coefficient" in row for row in plan.table_settings["rows"])

    def test_the_order_of_patterns_counts(self) -> None:
        patterns = {"*.ln_*": 0, "*resblocks*": 0.4}
        one_way, other = (
            planned(merges=[{"method": "task_arithmetic", "coefficient": dict(order)}])
            for order in (patterns.items(), reversed(patterns.items()))
        )
        assert {key for key in one_way if key[0] == "merge"} == {key for key in other if key[0] == "merge"}
        evaluated = {key for key in one_way if "by-tensor" in key[1]}
        assert len(evaluated) == 2
        assert not evaluated & {*other}

    @pytest.mark.parametrize(
        ("patterns", "message"),
        [
            ({"*.nl_*": 0}, r"merges, 'Task.*': coefficient: '\*\.nl_\*': no merged tensor is called so"),
            ({"*": 0.4, "*.ln_*": 0}, r"merges, 'Task.*': coefficient: '\*\.ln_\*': '\*' before it takes all"),
        ],
    )
    def test_patterns_that_match_nothing_are_refused_at_once(self, patterns: dict[str, float], message: str) -> None:
        merges = [{"method": "ties"}, {"method": "task_arithmetic", "coefficient": patterns}]
        with pytest.raises(TatrError, match=message):
            planned(merges=merges)

    def test_modules_wider_than_features_are_refused_at_once(self) -> None:
        planned(merges=[{"method": "ties", "surgery": {"rank": 96}}])
        with pytest.raises(TatrError, match=r"merges, 'Ties.*': surgery: rank 97: larger than the feature's 96"):
            planned(merges=[{"method": "ties", "surgery": {"rank": 97}}])

    def test_no_row_of_the_paper_stands_beside_a_modified_one(self) -> None:
        modified = [{"weights": {"mnist": 2}}, {"calibration": "svc"}, {"coefficient": {"*": 0.3}}]
        merges = [{"method": "task_arithmetic", "coefficient": 0.3} | keys for keys in ({}, *modified)]
        rows = planned(PAPER, backbone=OPENAI, merges=merges).table_settings["rows"][2:]
        assert ["paper" in row for row in rows] == [True, False, False, False]
