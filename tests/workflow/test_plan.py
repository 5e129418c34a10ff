"""What a plan makes of backbones, checkpoints and expectations, without reading data or weights."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from planned_configs import KNOWN, OPENAI, PAPER, names, one, planned
from small_clip import WEIGHTS, write_backbone, write_checkpoint

from tatr.config.merges import Merge
from tatr.errors import TatrError
from tatr.workflow.plan import Planned


class TestBackbones:
    def test_a_tag_is_fetched(self) -> None:
        plan = planned(PAPER, backbone=OPENAI)
        assert "ViT-B-32-quickgelu_openai" in names(plan, "download")
        assert plan.source.weights is None
        assert one(plan, "images", "mnist").settings["size"] == 224

    def test_a_file_is_known_by_its_content(self, tmp_path: Path) -> None:
        write_backbone(tmp_path / "clip")
        here = planned(PAPER, backbone={"name": "ViT-B-32", "weights": str(tmp_path / "clip" / WEIGHTS)})
        (tmp_path / "clip" / WEIGHTS).rename(tmp_path / "moved.safetensors")
        moved = planned(PAPER, backbone={"name": "ViT-B-32", "weights": str(tmp_path / "moved.safetensors")})
        assert here.source.settings["fingerprint"] == moved.source.settings["fingerprint"]
        assert one(here, "backbone").settings == one(moved, "backbone").settings
        write_backbone(tmp_path / "clip", seed=1)
        other = planned(PAPER, backbone={"name": "ViT-B-32", "weights": str(tmp_path / "clip" / WEIGHTS)})
        assert one(other, "backbone").name != one(here, "backbone").name
        assert (
            names(here, "download")
            == names(moved, "download")
            == {KNOWN[t]["sources"]["hub"]["dataset"].replace("/", "-") for t in PAPER}
        )

    def test_a_folder_that_open_clip_saved(self, tmp_path: Path) -> None:
        plan = planned(PAPER, backbone=str(write_backbone(tmp_path / "clip")))
        assert one(plan, "images", "mnist").settings["size"] == 32
        assert one(plan, "backbone").label == "clip"
        (tmp_path / "clip/open_clip_config.json").write_text("{")
        with pytest.raises(TatrError, match=r"open_clip_config\.json: not a config that open_clip saved"):
            planned(PAPER, backbone=str(tmp_path / "clip"))

    @pytest.mark.parametrize(
        ("backbone", "message"),
        [
            ("tiny-klip", r"backbone: 'tiny-klip' is neither one of backbones/ \(did you mean 'tiny-clip'\?\)"),
            ({"name": "ViT-B-33", "weights": "openai"}, "open_clip has no model 'ViT-B-33'; did you mean ViT-B-32"),
            ({"name": "RN50", "weights": "openai"}, "a ResNet is not supported"),
            ({"name": "ViT-B-32", "weights": "no/such.pt"}, r"backbone\.weights: no/such\.pt is no file"),
        ],
    )
    def test_what_is_not_there_is_refused(self, backbone: Any, message: str) -> None:  # noqa: ANN401
        with pytest.raises(TatrError, match=message):
            planned(PAPER, backbone=backbone)

    def test_images_are_resized_as_the_weights_want_it(self) -> None:
        plan = planned(PAPER, backbone=OPENAI | {"resize": "squash"})
        assert one(plan, "images", "mnist").settings["resize"] == "squash"

    def test_a_resizing_that_is_not_done_here_is_refused(self, tmp_path: Path) -> None:
        folder = write_backbone(tmp_path / "clip")
        config = json.loads((folder / "open_clip_config.json").read_text())
        config["preprocess_cfg"]["resize_mode"] = "longest"
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        with pytest.raises(TatrError, match=r"open_clip_config\.json: preprocess_cfg\.resize_mode: 'longest'"):
            planned(PAPER, backbone=str(folder))

    @pytest.mark.parametrize(
        ("keys", "key"),
        [
            ({"merges": [{"method": ["ties", "lot"]}]}, "merges, 'LOT"),
            ({"merges": [{"method": "regmean_plusplus"}]}, r"merges, 'RegMean\+\+"),
            ({"finetuning": {"checkpointing": True}}, "finetuning"),
        ],
    )
    def test_what_an_unusual_tower_cannot_do_is_refused_at_once(
        self, keys: dict[str, Any], key: str, tmp_path: Path
    ) -> None:
        folder = write_backbone(tmp_path / "clip")
        config = json.loads((folder / "open_clip_config.json").read_text())
        config["model_cfg"]["vision_cfg"]["ls_init_value"] = 0.1
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        assert planned(PAPER, backbone=str(folder)).of_kind("merge")
        with pytest.raises(TatrError, match=f"{key}.*: needs the layers of a standard vision transformer"):
            planned(PAPER, backbone=str(folder), **keys)


class TestCheckpoints:
    def test_sources_can_be_mixed(self, tmp_path: Path) -> None:
        clip = write_backbone(tmp_path / "clip")
        write_checkpoint(tmp_path / "DTD/finetuned.safetensors", clip, 1)
        tasks = {"mnist": {"origin": "hub", "repository": "someone/clip_{task}"}, "svhn": {"origin": "train"}}
        checkpoints = {"origin": "folder", "path": f"{tmp_path}/{{name}}/finetuned.safetensors", "tasks": tasks}
        plan = planned(["dtd", "mnist", "svhn"], backbone=str(clip), checkpoints=checkpoints)
        assert names(plan, "checkpoint") == {"dtd", "mnist"}
        assert names(plan, "finetuning") == {"svhn"}
        assert plan.table_settings["imported"] == ["dtd", "mnist"]
        assert "imported" not in planned().table_settings
        assert "someone-clip_mnist" in names(plan, "download")
        assert one(plan, "checkpoint", "dtd").settings["file"] == str(tmp_path / "DTD/finetuned.safetensors")

    def test_the_zero_shot_copy_next_to_it_counts(self, tmp_path: Path) -> None:
        clip = write_backbone(tmp_path / "clip")
        write_checkpoint(tmp_path / "finetuned.safetensors", clip, 1)
        keys = {
            "checkpoints": {"tasks": {"dtd": {"origin": "folder", "path": str(tmp_path / "finetuned.safetensors")}}}
        }
        alone = one(planned(["dtd", "mnist"], backbone=str(clip), **keys), "checkpoint")
        write_checkpoint(tmp_path / "zeroshot.safetensors", clip, 2)
        with_copy = one(planned(["dtd", "mnist"], backbone=str(clip), **keys), "checkpoint")
        assert (alone.settings["zero_shot"], len(alone.settings["fingerprint"])) == (None, 1)
        assert with_copy.settings["zero_shot"] == str(tmp_path / "zeroshot.safetensors")
        assert with_copy.name != alone.name

    def test_a_missing_file_is_named_with_its_task(self) -> None:
        keys = {"checkpoints": {"tasks": {"cars": {"origin": "folder", "path": "no/{task}.pt"}}}}
        with pytest.raises(TatrError, match=r"checkpoints \(task cars\): path: no/cars\.pt is no file"):
            planned(**keys)


def test_what_is_fetched_does_not_depend_on_our_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = planned(PAPER, backbone=OPENAI)
    monkeypatch.setattr("tatr.workflow.plan.artefacts.code_digest", lambda *modules: "another")
    after = planned(PAPER, backbone=OPENAI)
    assert {p.name for p in before.of_kind("download")} == {p.name for p in after.of_kind("download")}
    assert {p.name for p in before.of_kind("images")}.isdisjoint(p.name for p in after.of_kind("images"))


class TestUnseenTasks:
    MERGES: ClassVar[list[dict[str, Any]]] = [
        {"method": ["task_arithmetic", "fisher"], "coefficient": {"search": [0.2, 0.3]}, "trust_region": {"tau": 0.01}},
        {"method": "ada_merging", "surgery": {}},
    ]

    def test_they_have_images_and_a_head_and_every_row_but_surgerys_is_evaluated_on_them(self) -> None:
        plan = planned(unseen=["signs", "scenes"], merges=self.MERGES, multitask={}, sanity={"expected": {"cars": 9}})
        of_unseen = {p.kind for p in plan.values() if p.settings.get("task") in ("signs", "scenes")}
        assert of_unseen == {"images", "head"}
        for evaluation in plan.of_kind("evaluation"):
            tasks = {head.label for head in evaluation.inputs["heads"]}
            assert tasks == {image.label for image in evaluation.inputs["images"]}
            if evaluation.label.startswith("individual_"):
                assert tasks == {evaluation.label.removeprefix("individual_")}
            elif evaluation.label.endswith("_surgery"):
                assert tasks == {"cars", "digits"}
            else:
                assert tasks == {"cars", "digits", "scenes", "signs"}
                assert evaluation.settings["unseen"] == ["scenes", "signs"]
        assert plan.table_settings["tasks"] == ["cars", "digits"]
        assert plan.table_settings["unseen"] == ["signs", "scenes"]

    def test_nothing_but_evaluations_has_another_name_for_them(self) -> None:
        without, with_them = planned(merges=self.MERGES), planned(unseen=["signs"], merges=self.MERGES)
        kinds = {"images", "head", "evaluation", "tables", "figures", "report", "export"}
        assert {p.kind for key, p in with_them.items() if key not in without} == kinds
        assert {p.kind for key, p in without.items() if key not in with_them} == kinds - {"images", "head"}

    @pytest.mark.parametrize(
        ("unseen", "method"),
        [
            (["mnist", "eurosat"], "Task Arithmetic, MNIST and EuroSAT unseen"),
            (["svhn", "resisc45"], "Task Arithmetic, RESISC45 and SVHN unseen"),
            (["svhn", "dtd"], None),
        ],
    )
    def test_rows_of_table_4_are_beside_ours(self, unseen: list[str], method: str | None) -> None:
        suite = [task for task in PAPER if task not in unseen]
        merges = [{"method": "task_arithmetic", "coefficient": 0.3}]
        plan = planned(suite, backbone=OPENAI, merges=merges, unseen=unseen, sanity={"expected": "paper"})
        assert [row.get("paper", {}).get("method") for row in plan.table_settings["rows"]] == [None, None, method]
        assert ("paper" in plan.table_settings) == (method is not None)
        assert plan.sanity
        assert plan.sanity.settings["expected"].keys() == {*suite}


class TestSeeds:
    KEYS: ClassVar[dict[str, Any]] = {
        "merges": [
            {"method": "task_arithmetic", "trust_region": [None, {"tau": 0.01}], "surgery": [None, {}]},
            {"method": ["ada_merging", "fisher", "regmean"]},
        ],
        "multitask": {},
        "sanity": {"expected": {"cars": 90}},
        "unseen": ["signs"],
    }

    def test_what_a_seed_does_not_shape_is_planned_once(self) -> None:
        both, *alone = (planned(**self.KEYS, **seeds) for seeds in ({"seeds": [0, 1]}, {"seed": 0}, {"seed": 1}))
        (first, second) = ({key for key in plan if key[0] not in ("tables", "figures", "report")} for plan in alone)
        of_first_alone = {key for key in second if key[0] in ("export", "sanity")}
        assert {key for key in both if key[0] not in ("tables", "figures", "report")} == first | (
            second - of_first_alone
        )
        shared = {both[key].label for key in first & second if key[0] == "evaluation"}
        assert shared == {"pretrained"}
        assert {key[0] for key in first & second} == {"images", "head", "backbone", "evaluation", "pretraining"}
        assert both.exports == tuple(both[export.kind, export.name] for export in alone[0].exports)

    def test_one_seed_in_a_list_is_that_seed(self) -> None:
        listed, alone = planned(**self.KEYS, seeds=[3]), planned(**self.KEYS, seed=3)
        assert [*listed] == [*alone]
        assert listed.table_settings == alone.table_settings

    def test_the_table_lists_the_rows_of_each_seed(self) -> None:
        plan = planned(**self.KEYS, seeds=[0, 1])
        seeds = plan.table_settings["seeds"]
        assert [each["seed"] for each in seeds] == [0, 1]
        assert seeds[0]["rows"] == plan.table_settings["rows"]
        names = [[row["name"] for row in each["rows"]] for each in seeds]
        assert names[0] == names[1]
        read = {planned.name for role in ("references", "merges") for planned in plan.table.inputs[role]}
        assert {name for each in seeds for row in each["rows"] for name in row["evaluations"]} == read

    def test_analyses_are_of_each_seed_of_all_together_or_of_the_first(self) -> None:
        regions = [{"tau": 0.01}, {"sensitivity": "zero_shot", "tau": 0.01}]
        keys = {"merges": [{"method": "ties", "trust_region": regions}]}
        keys["analyses"] = {"similarity": {}, "overlap": {}, "landscapes": {"tasks": ["cars"]}}
        both, first = (planned(**keys, **seeds) for seeds in ({"seeds": [0, 1]}, {"seed": 0}))
        assert {name: len(group) for name, group in both.analyses.items()} == {
            **{"landscapes": 1, "overlap": 1, "similarity": 2}
        }
        assert both.analyses["similarity"][0] == both[("analysis", first.analyses["similarity"][0].name)]
        assert both.analyses["landscapes"][0].name == first.analyses["landscapes"][0].name
        assert {label["seed"] for label in both.analyses["overlap"][0].settings["labels"]["masks"]} == {0, 1}
        assert len(both.of_kind("landscape")) == len(first.of_kind("landscape")) == 2
        assert [*both.figure_settings["seeds"].values()] == [0, 0, 0, 1]


class TestGradients:
    def rows(self, *regions: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"method": "task_arithmetic", "trust_region": region} for region in regions]

    def test_one_artefact_per_task_serves_all_counts(self) -> None:
        merges = self.rows({"exemplars": [16, 128, 1]}, {"tau": 0.1}, {"sensitivity": "zero_shot"})
        plan = planned(exemplars={"count": 64, "seed": 7}, merges=merges)
        assert names(plan, "gradient") == {"cars_n-1-16-64-128", "digits_n-1-16-64-128"}
        gradient = one(plan, "gradient", "cars_n-1-16-64-128")
        assert gradient.settings == {"task": "cars", "counts": [1, 16, 64, 128], "seed": 7}
        omegas = {omega.label: omega for omega in plan.of_kind("sensitivity")}
        assert {label: omega.settings.get("exemplars") for label, omega in omegas.items()} == {
            "gradient_n-1": 1,
            "gradient_n-16": 16,
            "gradient_n-64": 64,
            "gradient_n-128": 128,
            "zero_shot": None,
        }
        assert all(gradient in omegas[f"gradient_n-{count}"].inputs["gradients"] for count in (1, 16, 64, 128))
        assert not omegas["zero_shot"].inputs["gradients"]

    def test_a_count_that_no_merge_asks_for_is_not_measured(self) -> None:
        assert not names(planned(merges=self.rows({"sensitivity": "zero_shot"})), "gradient")
        assert names(planned(merges=self.rows({"exemplars": 3})), "gradient") == {"cars_n-3", "digits_n-3"}


class TestArithmetic:
    @pytest.mark.parametrize(("backbone", "large"), [("tiny-clip", False), (OPENAI, True)])
    def test_only_steps_of_large_models_get_several_threads(self, backbone: str | dict[str, str], large: bool) -> None:
        assert planned(PAPER if large else None, backbone=backbone).source.is_large == large

    def test_one_direction_serves_all_trust_regions_unless_it_is_learnt_inside_of_each(self) -> None:
        region = {"sensitivity": "zero_shot", "tau": [0.01, 0.02]}
        merges = [{"method": method, "trust_region": [None, region]} for method in ("ties", "ada_merging", "ada_rank")]
        plan = planned(merges=merges)
        assert sorted(label.partition("_tau")[0] for label in names(plan, "merge")) == [
            "ada_merging",
            "ada_merging+zero_shot",
            "ada_merging+zero_shot",
            "ada_rank",
            "ada_rank+zero_shot",
            "ada_rank+zero_shot",
            "ties",
        ]
        for kind in ("adaptation", "rank_adaptation"):
            assert [len(learnt.inputs["mask"]) for learnt in plan.of_kind(kind)] == [0, 1, 1]
        for merge in plan.of_kind("merge"):
            learnt = {"ada_merging": ["adaptation"], "ada_rank": ["rank_adaptation"], "ties": []}
            given = merge.inputs["coefficients"]
            assert [planned.kind for planned in given] == learnt[merge.settings["method"]]
            assert all(planned.label == merge.label for planned in given)
        for evaluation in plan.of_kind("evaluation"):
            assert len(evaluation.inputs["masks"]) == ("_tau-" in evaluation.label)


class TestBySigns:
    def test_signed_gradients_are_planned_only_when_something_asks_for_them(self) -> None:
        regions = [{"tau": 0.01}, {"sensitivity": "zero_shot", "tau": 0.01}]
        without = planned(merges=[{"method": "task_arithmetic", "trust_region": regions}])
        signs = {"method": "task_arithmetic", "trust_region": {"sensitivity": "positive"}}
        asked = planned(merges=[{"method": "task_arithmetic", "trust_region": regions}, signs])
        assert not names(without, "signed_gradient")
        assert names(asked, "signed_gradient") == {"cars_n-128", "digits_n-128"}
        # What was there keeps its name.
        assert {planned.name for planned in without.of_kind("gradient", "sensitivity", "mask", "evaluation")} <= {
            planned.name for planned in asked.of_kind("gradient", "sensitivity", "mask", "evaluation")
        }

    def test_there_is_no_tau_in_names_settings_and_cards(self) -> None:
        signs = {"method": "task_arithmetic", "trust_region": {"sensitivity": "negative", "exemplars": 4}}
        plan = planned(merges=[signs])
        assert one(plan, "mask").label == "negative_n-4"
        assert one(plan, "mask").settings == {"threshold": 1}
        assert one(plan, "sensitivity").settings == {"sensitivity": "negative"}
        assert "task_arithmetic+negative_n-4_lambda-0.3" in names(plan, "evaluation")
        (export,) = plan.exports
        assert export.settings["trust_region"] == {"sensitivity": "negative", "exemplars": 4}

    def test_only_signs_need_no_absolute_gradients(self) -> None:
        signs = {"method": "task_arithmetic", "trust_region": {"sensitivity": "negative"}}
        assert not names(planned(merges=[signs]), "gradient")


class TestLandscapes:
    def test_of_a_task_the_others_vectors_and_its_own_gradient_and_images(self) -> None:
        plan = planned(["cars", "digits", "signs"], analyses={"landscapes": {"tasks": ["digits"], "taus": [0.1, 0.2]}})
        assert names(plan, "landscape") == {
            "digits_tau-0.1_lambda-0.3",
            "all-tasks_tau-0.1_lambda-0.3",
            "all-tasks_tau-0.2_lambda-0.3",
        }
        own = one(plan, "landscape", "digits_tau-0.1_lambda-0.3")
        labels = {role: [planned.label for planned in group] for role, group in own.inputs.items()}
        assert labels == {
            "backbone": ["tiny-clip"],
            "task_vectors": ["cars", "signs"],
            "signed_gradients": ["digits_n-128"],
            "heads": ["digits"],
            "images": ["digits"],
        }
        whole = one(plan, "landscape", "all-tasks_tau-0.1_lambda-0.3")
        assert [len(whole.inputs[role]) for role in ("task_vectors", "signed_gradients", "images")] == [3, 3, 3]

    def test_components_are_merges_that_the_table_could_have(self) -> None:
        regions = [None, {"sensitivity": ["positive", "negative"]}, {"tau": 0.05}]
        merges = [{"method": "task_arithmetic", "trust_region": regions}]
        without = planned(merges=merges)
        plan = planned(merges=merges, analyses={"components": {"tau": 0.05}})
        assert names(plan, "evaluation") == names(without, "evaluation")


class TestNames:
    ROWS: ClassVar[list[dict[str, Any]]] = [
        {"method": "ties"},
        {"method": "ties", "trust_region": {"tau": [0.01, 0.02]}},
        {"method": "task_arithmetic", "coefficient": {"search": [0.1, 0.2]}},
    ]
    ANALYSES: ClassVar[dict[str, Any]] = {"tau_curve": {}, "coefficient_curve": {}, "similarity": {}, "dropped": {}}

    def test_how_rows_and_tasks_are_called_and_drawn_is_in_no_artefacts_name(self) -> None:
        plain = planned(merges=self.ROWS, analyses=self.ANALYSES)
        called = [{**row, "name": f"row {index}"} for index, row in enumerate(self.ROWS) if index != 1]
        taus = [{**self.ROWS[1], "trust_region": {"tau": tau}, "name": f"τ {tau}"} for tau in (0.01, 0.02)]
        display = {"tasks": {"cars": "My cars"}, "digits": 3, "figure_width": 5, "colour": "red"}
        other = planned(merges=[called[0], *taus, called[1]], analyses=self.ANALYSES, display=display)
        assert {*other} == {*plain}
        assert [row["name"] for row in other.table_settings["rows"][2:]] == ["row 0", "τ 0.01", "τ 0.02", "row 2"]

    def test_figures_are_told_how_rows_are_called(self) -> None:
        plan = planned(merges=[{**self.ROWS[0], "name": "mine"}, *self.ROWS[1:]])
        assert plan.figure_settings["rows"] == {"Ties-Merging, λ 0.3": "mine"}
        assert "rows" not in planned(merges=self.ROWS).figure_settings

    def test_pairs_of_rows_are_known_by_their_settings(self) -> None:
        def analysed(name: str) -> Planned:
            pairs = [[name, "Task Arithmetic, λ on validation"]]
            plan = planned(
                merges=[{**self.ROWS[0], "name": name}, self.ROWS[2]], analyses={"contrasts": {"pairs": pairs}}
            )
            return one(plan, "analysis")

        assert analysed("mine").name == analysed("other").name
        assert (
            analysed("mine").settings["settings"]["pairs"][0][0]
            == planned(merges=self.ROWS[:1]).config.merges[0].row_name
        )

    def test_equal_merges_of_two_names_are_told_apart(self) -> None:
        names = ("a", "b", "c")
        config = planned(merges=[{**self.ROWS[0], "name": name} for name in names]).config
        assert [*config.rows] == [*names]
        assert len({*config.rows.values()}) == len(names)


class TestPlaces:
    @pytest.mark.parametrize(
        "keys",
        [
            {"backbone": "a" * 5000},
            {"backbone": {"name": "ViT-B-32-quickgelu", "weights": f"{'a' * 300}.pt"}},
            {"checkpoints": {"origin": "folder", "path": f"{'a' * 300}/{{task}}"}},
            {"checkpoints": {"origin": "folder", "path": f"{'a/' * 3000}{{task}}"}},
        ],
    )
    def test_a_path_that_no_file_can_have_is_one_message(self, keys: dict[str, Any]) -> None:
        with pytest.raises(TatrError) as caught:
            planned(**keys)
        assert "aaa" in str(caught.value) or "a/a" in str(caught.value)
        assert "File name too long" in str(caught.value)

    def test_what_may_not_be_read_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> bool:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Path, "is_dir", refuse)
        with pytest.raises(TatrError, match=r"tiny-clip: can't be read \(Permission denied\)$"):
            planned()


def test_rows_of_large_sweeps_know_the_row_without_a_trust_region_and_are_compared_with_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, described, compared = 200, Merge.but_for_region.fget, []
    monkeypatch.setattr(Merge, "but_for_region", property(lambda merge: compared.append(merge) or described(merge)))
    coefficients = [(row + 1) / 100 for row in range(rows)]
    plan = planned(merges=[{"method": "ties", "coefficient": coefficients, "trust_region": [None, {"tau": 0.1}]}])
    table = plan.table_settings["rows"][2:]
    without = {row["evaluations"][0] for row in table if "without" not in row}
    assert [row["without"][0] in without for row in table if "without" in row] == [True] * rows
    assert len({row["without"][0] for row in table if "without" in row}) == rows
    assert 0 < len(compared) <= 10 * rows
