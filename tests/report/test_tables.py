"""The methods table: rows, averages, ranks among merges, Markdown."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from answered import answered, answers_of, scores

from tatr.config.loading import RESERVED
from tatr.digests import file_digest
from tatr.measuring.predictions import FILE as PREDICTIONS
from tatr.measuring.predictions import save_predictions
from tatr.report.statistics import average_accuracy, average_difference
from tatr.report.table_text import (
    DIFFERENCE,
    NORMALISED,
    NOTES,
    explanations,
    formatted,
    markdown,
    marked_tasks,
    ranks,
    signed,
    skipped_notes,
)
from tatr.report.tables import (
    SEEDS,
    STATEMENTS,
    UNSEEN_AVERAGE,
    UNSEEN_STATEMENTS,
    load_table,
    methods_table,
    paired_table,
    search_table,
    skipped,
)
from tatr.workflow.artefact import FILE, Artefact

TASKS = ["cars", "digits"]


def table_of(rows: list[dict[str, Any]], evaluations: dict[str, Any]) -> pd.DataFrame:
    return methods_table(rows, evaluations, answers_of(evaluations), TASKS)


@pytest.fixture
def table() -> pd.DataFrame:
    evaluations = {
        "pre": scores(0, digits=0.4, cars=0.5),
        "individual cars": scores(1, cars=0.99),
        "individual digits": scores(1, digits=0.97),
        "average": scores(1, cars=0.6, digits=0.70),
        "ta": scores(0.3, cars=0.8, digits=0.6),
        "tatr": scores(0.3, cars=0.8002, digits=0.65),
        "unused": scores(0.3, cars=1, digits=1),
    }
    rows = [
        {"name": "Pre-trained", "reference": True, "evaluations": ["pre"]},
        {"name": "Individual", "reference": True, "evaluations": ["individual digits", "individual cars"]},
        {"name": "Average", "reference": False, "evaluations": ["average"]},
        {"name": "TA", "reference": False, "evaluations": ["ta"]},
        {"name": "TATR", "reference": False, "evaluations": ["tatr"]},
    ]
    return table_of(rows, evaluations)


def test_accuracies_are_percent_in_the_order_of_rows_and_tasks(table: pd.DataFrame) -> None:
    assert list(table.index) == ["Pre-trained", "Individual", "Average", "TA", "TATR"]
    assert list(table.columns) == ["cars", "digits", "average", *STATEMENTS]
    np.testing.assert_allclose(table.loc["TA"][:3].astype(float), [80, 60, 70])
    assert table.loc["TA"]["coefficient"] == 0.3
    np.testing.assert_allclose(table.loc["Individual"][:3].astype(float), [99, 97, 98])


def test_normalised_is_the_mean_share_of_the_individual_models(table: pd.DataFrame) -> None:
    shares = table[TASKS] / table.loc["Individual", TASKS]
    np.testing.assert_allclose(table["normalised"], 100 * shares.mean(axis=1))
    assert table.loc["Individual", "normalised"] == 100


def test_without_individual_models_of_all_tasks_nothing_is_normalised() -> None:
    rows = [
        {"name": "Individual", "reference": True, "evaluations": ["individual"]},
        {"name": "TA", "reference": False, "evaluations": ["ta"]},
    ]
    evaluations = {"individual": scores(1, cars=0.9, digits=0.0), "ta": scores(0.3, cars=0.8, digits=0.6)}
    for listed in (rows[1:], rows):  # none at all; one that is never right
        table = table_of(listed, evaluations)
        assert table["normalised"].isna().all()
        assert NORMALISED not in markdown(table, {}, 1)


def test_a_row_whose_direction_has_lambda_in_it_states_it() -> None:
    rows = [
        {"name": "TA", "reference": False, "evaluations": ["ta"]},
        {"name": "TA + SVC", "reference": False, "evaluations": ["svc"], "coefficient": 0.3},
    ]
    table = table_of(rows, {"ta": scores(0.3, cars=0.8, digits=0.6), "svc": scores(1, cars=0.8, digits=0.6)})
    assert table["coefficient"].tolist() == [0.3, 0.3]


def test_references_have_no_coefficient(table: pd.DataFrame) -> None:
    assert table["coefficient"].isna().tolist() == [True, True, False, False, False]


def test_the_best_two_merges_are_ranked_and_references_are_not(table: pd.DataFrame) -> None:
    ranking = ranks(table, 1)
    assert ranking["digits"].tolist() == [0, 0, 1, 0, 2]
    assert ranking["average"].tolist() == [0, 0, 0, 2, 1]


def test_what_reads_the_same_is_ranked_the_same(table: pd.DataFrame) -> None:
    assert ranks(table, 1)["cars"].tolist() == [0, 0, 2, 1, 1]  # 80.00 and 80.02 in one decimal
    assert ranks(table, 2)["cars"].tolist() == [0, 0, 0, 2, 1]


def test_cells_show_the_asked_decimals_names_and_marks(table: pd.DataFrame) -> None:
    text = formatted(table, {"cars": "Cars"}, 2, {0: "{}", 1: "<{}>", 2: "({})"})
    assert list(text.columns) == ["Cars", "digits", "average", NORMALISED, "λ", "95 %"]
    assert text.loc["TATR"].tolist()[:-1] == ["<80.02>", "(65.00)", "<72.51>", "73.92", "0.3"]
    alike = formatted(table, {"cars": "Mine", "digits": "Mine"}, 1, {0: "{}", 1: "{}", 2: "{}"})
    assert alike.loc["Pre-trained"].tolist()[:-1] == ["50.0", "40.0", "45.0", "45.9", ""]
    assert text.loc["Pre-trained"].tolist()[:-1] == ["50.00", "40.00", "45.00", "45.87", ""]


def test_markdown_is_a_table_with_bold_and_italics(table: pd.DataFrame) -> None:
    lines = markdown(table, {"cars": "Cars"}, 1).splitlines()
    assert lines[:2] == [
        "| Method | Cars | digits | average | of individual | λ | 95 % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    assert lines[6].startswith("| TATR | **80.0** | *65.0* | **72.5** | 73.9 | 0.3 |")
    assert lines[7:10] == [
        "",
        "**Bold**: the best merge of a column, *italics*: the second best, whatever the intervals.",
        "",
    ]
    assert lines[10].startswith(f"{NORMALISED}: each task's accuracy")
    assert lines[12].startswith("95 %: interval")
    assert len(lines) == 13


def test_what_a_trust_region_changes_has_an_interval_of_its_own() -> None:
    evaluations = {"ta": scores(0.3, cars=0.8, digits=0.6), "tatr": scores(0.3, cars=0.82, digits=0.66)}
    rows: list[dict[str, Any]] = [
        {"name": "TA", "reference": False, "evaluations": ["ta"]},
        {"name": "TATR", "reference": False, "evaluations": ["tatr"], "without": ["ta"]},
    ]
    answers = answers_of(evaluations)  # of one seed: what the better one adds, the other lacks
    table = methods_table(rows, evaluations, answers, TASKS)
    _, low, high = average_difference(answers["tatr"], answers["ta"])
    np.testing.assert_allclose(table.loc["TATR"][[*STATEMENTS[-3:]]].astype(float), [4, 100 * low, 100 * high])
    assert 3 < 100 * low < 4 < 100 * high < 5
    assert table.loc["TA"][[*STATEMENTS[-3:]]].isna().all()
    _, low, high = average_accuracy(answers["ta"])
    np.testing.assert_allclose(table.loc["TA"][["average_low", "average_high"]].astype(float), [100 * low, 100 * high])
    text = formatted(table, {}, 1, {0: "{}", 1: "**{}**", 2: "{}"})
    assert text[DIFFERENCE].tolist()[0] == ""
    assert re.fullmatch(r"\*\*\+4\.0\*\* \[\+3\.\d, \+4\.\d\]", text[DIFFERENCE].tolist()[1])
    assert f"{DIFFERENCE}: the average minus that of the same row" in markdown(table, {}, 1)
    paired = paired_table(rows, answers)
    assert paired["method"].tolist() == 2 * ["TATR"]
    assert paired[["task", "gained", "lost", "images"]].to_numpy().tolist() == [
        ["cars", 20, 0, 1000],
        ["digits", 60, 0, 1000],
    ]
    np.testing.assert_allclose(paired["p_value"], [2.0**-19, 2.0**-59])
    # Other images are right: the same averages say much less.
    apart = methods_table(rows, evaluations, answers | {"tatr": answered(1, cars=0.81, digits=0.6)}, TASKS)
    (unsure,) = formatted(apart, {}, 1, {0: "{}", 1: "**{}**", 2: "{}"})[DIFFERENCE].tolist()[1:]
    assert re.fullmatch(r"\+0\.5 \[−\d\.\d, \+\d\.\d\]", unsure)


def test_a_chosen_tau_has_a_column_and_what_was_tried_a_table() -> None:
    search = [
        {"tau": tau, "coefficient": coefficient, "validation": 0.5 + tau + coefficient}
        for tau in (0.01, 0.1)
        for coefficient in (0.2, 0.3)
    ]
    tuned = scores(0.3, cars=0.8, digits=0.6) | {"tau": 0.1, "search": search}
    evaluations = {"fixed": scores(1, cars=0.5, digits=0.5), "tuned": tuned}
    rows = [{"name": name, "reference": False, "evaluations": [name]} for name in evaluations]
    table = table_of(rows, evaluations)
    lines = markdown(table, {}, 1).splitlines()
    assert lines[0] == "| Method | cars | digits | average | τ | λ | 95 % |"
    assert "| 10 % | 0.3 |" in lines[3]
    assert "|  | 1 |" in lines[2]
    tried = search_table(rows, evaluations)
    assert tried["method"].tolist() == 4 * ["tuned"]
    assert tried["taken"].tolist() == [False, False, False, True]
    np.testing.assert_allclose(tried["validation"], [71, 81, 80, 90])


def test_rows_that_learn_from_unlabelled_images_are_marked_and_the_marks_explained(tmp_path: Path) -> None:
    splits = {"a": None, "b": "test", "c": "validation"}
    rows: list[dict[str, Any]] = [{"name": name, "reference": False, "evaluations": ["x"]} for name in splits]
    rows = [row | ({"unlabelled": split} if split else {}) for row, split in zip(rows, splits.values(), strict=True)]
    table = table_of(rows, {"x": scores(1, cars=0.5, digits=0.5)})
    table.to_csv(tmp_path / "methods.csv")
    pd.testing.assert_frame_equal(load_table(tmp_path / "methods.csv"), table)
    text = markdown(load_table(tmp_path / "methods.csv"), {}, 1)
    assert [line.split(" |")[0] for line in text.splitlines()[2:5]] == ["| a", "| b †", "| c ‡"]
    assert text.splitlines()[8:] == [*explanations(table), "", f"† {NOTES['†']}", "", f"‡ {NOTES['‡']}"]
    assert "†" not in markdown(table.iloc[[0]], {}, 1)


def test_no_task_may_be_called_like_a_column(table: pd.DataFrame) -> None:
    columns = {table.index.name, *table.columns} - set(TASKS)
    assert columns | {UNSEEN_AVERAGE, *UNSEEN_STATEMENTS, "seed", SEEDS} == set(RESERVED)


class TestUnseenTasks:
    """Cars and digits are merged, signs are not; the row with surgery has no value for them."""

    ROWS: ClassVar[list[dict[str, Any]]] = [
        {"name": "Pre-trained", "reference": True, "evaluations": ["pre"]},
        {"name": "Individual", "reference": True, "evaluations": ["individual"]},
        {"name": "TA", "reference": False, "evaluations": ["ta"]},
        {"name": "TATR", "reference": False, "evaluations": ["tatr"], "without": ["ta"]},
        {"name": "Surgery", "reference": False, "evaluations": ["surgery"]},
    ]
    SCORES: ClassVar[dict[str, Any]] = {
        "pre": scores(0, cars=0.5, digits=0.4, signs=0.7),
        "individual": scores(1, cars=0.9, digits=0.8),
        "ta": scores(0.3, cars=0.8, digits=0.6, signs=0.5),
        "tatr": scores(0.3, cars=0.82, digits=0.66, signs=0.58),
        "surgery": scores(0.3, cars=0.9, digits=0.7),
    }

    @pytest.fixture
    def table(self) -> pd.DataFrame:
        return methods_table(self.ROWS, self.SCORES, answers_of(self.SCORES), TASKS, ["signs"])

    def test_they_stand_after_the_average_and_have_one_of_their_own(self, table: pd.DataFrame) -> None:
        assert list(table.columns) == [*TASKS, "average", "signs", UNSEEN_AVERAGE, *STATEMENTS, *UNSEEN_STATEMENTS]
        np.testing.assert_allclose(table["average"], [45, 85, 70, 74, 80])
        np.testing.assert_allclose(table[UNSEEN_AVERAGE], [70, np.nan, 50, 58, np.nan])

    def test_what_is_said_of_the_average_is_the_same_as_without_them(self, table: pd.DataFrame) -> None:
        merged = {
            name: result | {"scores": {task: result["scores"][task] for task in TASKS}}
            for name, result in self.SCORES.items()
        }
        alone = methods_table(self.ROWS, merged, answers_of(merged), TASKS)
        pd.testing.assert_frame_equal(table[[*alone.columns]], alone)

    def test_intervals_and_differences_of_their_average(self, table: pd.DataFrame) -> None:
        answers = answers_of(self.SCORES)
        one, other = ({"signs": answers[name]["signs"]} for name in ("tatr", "ta"))
        found = 100 * np.array([*average_accuracy(one)[1:], *average_difference(one, other)])
        np.testing.assert_allclose(table.loc["TATR", [*UNSEEN_STATEMENTS]].astype(float), found)
        assert table.loc[["Individual", "Surgery"], [*UNSEEN_STATEMENTS]].isna().all(axis=None)

    def test_markdown_marks_them_and_leaves_cells_without_a_value_empty(self, table: pd.DataFrame) -> None:
        lines = markdown(table, {"signs": "Signs"}, 1).splitlines()
        heading = [cell.strip() for cell in lines[0].split("|")[1:-1]]
        assert heading[:6] == ["Method", "cars", "digits", "average", NORMALISED, "Signs (unseen)"]
        assert heading[-4:] == ["95 %", DIFFERENCE, "unseen 95 %", f"unseen {DIFFERENCE}"]
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:7]]
        assert heading[6] == "unseen average"
        assert [row[5] for row in cells] == ["70.0", "", "*50.0*", "**58.0**", ""]
        assert any(line.startswith("unseen: not merged") for line in lines)

    def test_a_table_that_was_read_reads_the_same(self, table: pd.DataFrame, tmp_path: Path) -> None:
        table.to_csv(tmp_path / "methods.csv")
        assert markdown(load_table(tmp_path / "methods.csv"), {}, 1) == markdown(table, {}, 1)


def test_images_that_could_not_be_decoded_are_counted_under_the_table(table: pd.DataFrame) -> None:
    old = scores(1, cars=0.5, digits=0.5)
    assert skipped({"old": old}) == {}
    new = scores(1, cars=0.5, digits=0.5)
    new["scores"]["digits"]["skipped"], new["scores"]["cars"]["skipped"] = 3, 0
    one = scores(1, cars=0.5)
    one["scores"]["cars"]["skipped"] = 1
    assert skipped({"old": old, "new": new}) == {"digits": 3}
    left_out = skipped({"old": old, "new": new, "one": one})
    assert skipped_notes({"cars": "Cars"}, left_out) == [
        "§ 1 test image of Cars could not be decoded and is left out",
        "§ 3 test images of digits could not be decoded and are left out",
    ]
    names = marked_tasks(TASKS, {"cars": "Cars"}, {"digits": 3})
    assert names == {"cars": "Cars", "digits": "digits §"}
    lines = markdown(table, names, 1, ["§ three"], ["look out"]).splitlines()
    assert lines[0] == "| Method | Cars | digits § | average | of individual | λ | 95 % |"
    assert lines[7:9] == ["", "**⚠ look out**"]
    assert lines[-2:] == ["", "§ three"]


@pytest.mark.parametrize(
    ("value", "shown"), [(0.05001, "+0.1"), (-1.25001, "−1.3"), (0.04, "0.0"), (-0.04, "0.0"), (0, "0.0")]
)
def test_differences_have_a_sign_unless_they_read_as_zero(value: float, shown: str) -> None:
    assert signed(value, 1) == shown


@pytest.fixture
def saved(make_artefact: Callable[..., Artefact]) -> Callable[..., Path]:
    """Save an artefact of one JSON file, and the answers that belong to scores; returns its manifest's path."""

    def save(kind: str, name: str, file: str, value: dict[str, Any]) -> Path:
        def write(folder: Path) -> dict[str, str]:
            (folder / file).write_text(json.dumps(value))
            content = {file: file_digest(folder / file)}
            if kind == "evaluation":
                content[PREDICTIONS] = save_predictions(answers_of({"": value})[""], folder / PREDICTIONS)
            return content

        return make_artefact(kind, name, {}, write).folder / FILE

    return save


class TestCommands:
    @pytest.fixture
    def tabulate(
        self, saved: Callable[..., Path], run_script: Callable[..., tuple[int, str, set[str]]], tmp_path: Path
    ) -> Callable[..., Artefact]:
        """Run `tables` on two evaluations, with what is added to the settings and the arguments."""
        merged = scores(0.3, cars=0.6, digits=0.8)
        merged["scores"]["cars"]["skipped"] = 2
        pretrained = saved("evaluation", "pre", "scores.json", scores(0, cars=0.5, digits=0.4))
        merge = saved("evaluation", "ta", "scores.json", merged)
        rows = [
            {"name": name, "evaluations": [key], "reference": key == "pre"} for name, key in (("A", "pre"), ("B", "ta"))
        ]

        def run(paper: dict[str, Any] | None = None, *further: str | Path, reference: str = "A") -> Artefact:
            rows[0]["name"] = reference
            settings = {"rows": rows, "tasks": TASKS, "names": {"cars": "Cars"}, "digits": 1}
            if paper:
                settings |= {"rows": [rows[0], rows[1] | {"paper": paper, "published": FIGURES}], "paper": ABOUT}
                settings |= {"published": {"backbone": "ViT-B-32", "suite": "vision8"}}
            output = tmp_path / "made" / FILE
            arguments = ["--references", pretrained, "--merges", merge, *further, "--settings", json.dumps(settings)]
            code, printed, modules = run_script("tables", *arguments, "--output", output)
            assert code == 0, printed
            assert "torch" not in modules
            return Artefact.open(output, "tables")

        return run

    def test_an_individual_model_that_learnt_nothing_is_remarked_on(self, tabulate: Callable[..., Artefact]) -> None:
        table = tabulate(reference="Individual")
        first, *_ = json.loads((table / "remarks.json").read_text())["warnings"]
        assert first.startswith("The individual model of Cars learnt next to nothing: 50.0 % of its test images")
        assert f"**⚠ {first}**" in (table / "methods.md").read_text()

    def test_without_paper_and_sanity_there_are_no_further_files(self, tabulate: Callable[..., Artefact]) -> None:
        table = tabulate()
        assert table.manifest.content.keys() == {
            *("methods.csv", "methods.md", "methods.html", "paired.csv", "search.csv", "search.html", "remarks.json")
        }
        assert json.loads((table / "remarks.json").read_text()) == {"skipped": {"cars": 2}, "warnings": []}
        assert "| Method | Cars § | digits |" in (table / "methods.md").read_text()
        assert "⚠" not in (table / "methods.md").read_text()
        assert "§" not in (table / "methods.csv").read_text()

    def test_deviations_and_published_figures_are_shown(
        self,
        tabulate: Callable[..., Artefact],
        saved: Callable[..., Path],
        run_script: Callable[..., tuple[int, str, set[str]]],
    ) -> None:
        off = {"measured": 50.0, "expected": 77.7, "difference": -27.7, "ok": False}
        found = {
            "tolerance": 1.0,
            "stated_by": "config",
            "ok": False,
            "tasks": {"cars": off, "digits": off | {"ok": True}},
            "sets": LIKENED,
        }
        paper = {"table": 1, "method": "TA", "accuracies": {"C": 61.0, "D": 79.5}, "average": 70.3, "notes": ["n"]}
        table = tabulate(paper, "--sanity", saved("sanity", "s", "sanity.json", found))
        warning = "individual model of Cars: 50.0 %, 27.7 points below the expected 77.7 % (config; tolerance ± 1)"
        for name in ("methods.md", "paper.md", "published.md"):
            assert f"\n**⚠ {warning}**\n" in (table / name).read_text()
        assert f"⚠ {warning}</p>" in (table / "paper.html").read_text()
        lines = (table / "paper.md").read_text().splitlines()
        assert lines[0] == "| Row | In the paper |  | Cars § | digits | average |"
        assert lines[2:5] == [
            "| B | Table 1: TA ¹ | paper | 61.0 | 79.5 | 70.3 |",
            "|  |  | ours | 60.0 | 80.0 | 70.0 |",
            "|  |  | difference | −1.0 | +0.5 | −0.3 |",
        ]
        assert lines[-3:] == ["¹ a note", "", "§ 2 test images of Cars could not be decoded and are left out"]

        lines = (table / "published.md").read_text().splitlines()
        assert lines[2] == "| B | S | TA (λ 1) | there, second hand | 69.0 | 70.0 | +1.0 |"
        notes = json.loads((table / "published.json").read_text())["notes"]
        assert notes[0].startswith("The individual models match the checkpoints of S")

        code, printed, _ = run_script("show", table.folder / FILE)
        assert code == 0
        assert f"warning: {warning}" in printed
        assert "§ 2 test images of Cars" in printed


ABOUT = {"backbone": "ViT-B-32", "names": {"cars": "C", "digits": "D"}, "columns": {}, "notes": {"n": "a note"}}
WORDS = {"row": "TA", "settings": "λ 1", "source": "there", "certainty": "second hand"}
FIGURES = [
    WORDS | {"set": name, "average": average, "normalised": None} for name, average in (("R", 60.0), ("S", 69.0))
]
LIKENED = {"nearest": "S", "matched": True, "tolerance": 1, "deviations": {"S": 0.2}, "tasks": 2, "leaked": []}
