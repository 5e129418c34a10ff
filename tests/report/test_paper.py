"""The paper's tables: what they say, which of our rows they are compared with, and how that reads."""

import re
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tatr.config.merges import Merge
from tatr.merging.methods import load
from tatr.report.paper.comparison import as_text, averages, compare, files, markdown, superscript
from tatr.report.paper.matching import (
    ANY,
    FIXED_TAU,
    Match,
    comparison,
    individual,
    paper_backbone,
    paper_row,
    reference_row,
)
from tatr.report.paper.printed import coinciding, rows

DOCS = Path(__file__).parents[2] / "docs/report/paper.md"
TASKS = ["SUN397", "Cars", "RESISC45", "EuroSAT", "SVHN", "GTSRB", "MNIST", "DTD"]
GRID = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05]
TUNED = {"tau": {"search": GRID}}
B32, B16, L14 = "ViT-B-32", "ViT-B-16", "ViT-L-14"


def as_planned(raw: dict[str, Any]) -> dict[str, Any]:
    """What the plan says of a merge as it stands in a config."""
    merge = Merge.model_validate(raw)
    planned = merge.model_dump(mode="json", include={"method", "settings", "surgery"})
    planned |= {"coefficients": merge.coefficients, "trust_region": None}
    if region := merge.trust_region:
        count = None if region.sensitivity == "zero_shot" else region.exemplars or 128
        planned["trust_region"] = {"sensitivity": region.sensitivity, "taus": region.taus, "exemplars": count}
    return planned


def matched(raw: dict[str, Any], backbone: str = B32) -> tuple[int, str] | None:
    match = paper_row(as_planned(raw), backbone)
    return (match.table, match.method) if match else None


class TestTables:
    @pytest.mark.parametrize(
        ("table", "row", "accuracies", "average"),
        [
            (1, "TATR", [62.7, 59.3, 72.3, 82.3, 80.5, 72.6, 97.0, 55.4], 72.8),
            (1, "Surgery & TATR zero-shot", [64.2, 60.4, 82.7, 96.9, 86.4, 86.5, 98.5, 68.7], 80.5),
            (2, "AdaMerging++ & TATR", [81.6, 95.9, 95.8, 95.5, 83.2, 92.6, 99.7, 87.5], 91.5),
            (3, "RegMean", [69.1, 71.6, 77.6, 88.8, 83.7, 70.2, 96.9, 54.6], 76.6),
            (4, "TATR, MNIST and EuroSAT unseen", [66.0, 64.1, 77.9, 47.7, 83.9, 81.8, 77.2, 60.1], 72.3),
            (5, "TATR, 4 exemplars", [62.3, 59.3, 71.8, 82.4, 80.5, 72.7, 97.0, 55.1], 72.6),
            (6, "TATR negative", [29.5, 11.5, 22.6, 30.0, 65.5, 40.0, 83.3, 30.5], 39.1),
        ],
    )
    def test_rows_are_as_printed(self, table: int, row: str, accuracies: list[float], average: float) -> None:
        printed = rows(table)[row]
        assert list(printed.accuracies) == TASKS
        assert list(printed.accuracies.values()) == accuracies
        assert printed.average == average

    def test_all_rows_are_there(self) -> None:
        assert [len(rows(table)) for table in range(1, 7)] == [21, 19, 9, 4, 10, 6]

    def test_averages_are_means_but_where_a_footnote_says_otherwise(self) -> None:
        printed = [row for table in (1, 2, 3, 5, 6) for row in rows(table).values()]
        off = [row for row in printed if abs(np.mean(list(row.accuracies.values())) - row.average) > 0.1]
        assert [(row.table, row.name) for row in off] == [(1, "Traditional MTL"), (2, "Traditional MTL")]
        assert {row.notes for row in off} == {("average",)}

    def test_every_footnote_is_used_and_stands_in_the_docs(self) -> None:
        used = {note for table in range(1, 7) for row in rows(table).values() for note in row.notes}
        used |= {FIXED_TAU, *(note for notes in coinciding()["columns"].values() for note in notes)}
        texts = coinciding()["notes"]
        assert used == texts.keys()
        docs = " ".join(DOCS.read_text().split())
        assert [key for key, text in texts.items() if text not in docs] == []


class TestMatching:
    @pytest.mark.parametrize(
        ("raw", "expected"),
        [
            ({"method": "weight_average"}, "Weight Averaging"),
            ({"method": "fisher"}, "Fisher Merging"),
            ({"method": "regmean", "exemplars": 1000}, "RegMean"),
            ({"method": "task_arithmetic", "coefficient": 0.3}, "Task Arithmetic"),
            ({"method": "task_arithmetic", "trust_region": TUNED}, "TATR"),
            ({"method": "task_arithmetic", "trust_region": {"tau": {"search": GRID[::-1]}}}, "TATR"),
            ({"method": "task_arithmetic", "trust_region": TUNED | {"sensitivity": "zero_shot"}}, "TATR zero-shot"),
            ({"method": "ties"}, "Ties-Merging"),
            ({"method": "ties", "trust_region": TUNED}, "Ties-Merging & TATR"),
            ({"method": "ada_merging", "granularity": "task"}, "TW AdaMerging"),
            ({"method": "ada_merging", "granularity": "task", "density": 0.2}, "TW AdaMerging++"),
            ({"method": "ada_merging"}, "LW AdaMerging"),
            ({"method": "ada_merging", "density": 0.2}, "LW AdaMerging++"),
            ({"method": "ada_merging", "density": 0.2, "trust_region": TUNED}, "LW AdaMerging++ & TATR"),
            ({"method": "task_arithmetic", "surgery": {}}, "Surgery Merging"),
            ({"method": "task_arithmetic", "surgery": {}, "trust_region": {"tau": 0.01}}, "Surgery & TATR"),
        ],
    )
    def test_the_authors_settings_are_rows_of_table_1(self, raw: dict[str, Any], expected: str) -> None:
        assert matched(raw) == (1, expected)

    @pytest.mark.parametrize(
        "raw",
        [
            {"method": "task_arithmetic", "coefficient": 0.4},
            {"method": "task_arithmetic", "coefficient": {"search": [0.2, 0.3]}},
            {"method": "task_arithmetic", "trust_region": {"tau": 0.1}},
            {"method": "task_arithmetic", "trust_region": {"tau": {"search": GRID[1:]}}},
            {"method": "task_arithmetic", "trust_region": {"tau": {"search": [*GRID[1:], 0.1]}}},
            {"method": "task_arithmetic", "trust_region": TUNED | {"exemplars": 100}},
            {"method": "task_arithmetic", "trust_region": TUNED, "coefficient": 0.4},
            {"method": "ties", "combine": "mean", "coefficient": 1.0},
            {"method": "ties", "density": 0.1},
            {"method": "ties", "coefficient": 0.4},
            {"method": "ada_merging", "iterations": 200},
            {"method": "ada_merging", "split": "validation"},
            {"method": "ada_merging", "trust_region": TUNED},  # Table 1 has it with ++ only
            {"method": "task_arithmetic", "surgery": {"rank": 8}},
            {"method": "ties", "surgery": {}},
            {"method": "regmean", "off_diagonal": 0.1},
            {"method": "weight_average", "trust_region": TUNED},
            {"method": "weight_average", "coefficient": 0.5},
            {"method": "breadcrumbs"},
        ],
    )
    def test_other_settings_are_none(self, raw: dict[str, Any]) -> None:
        assert matched(raw) is None

    def test_tables_go_by_backbone(self) -> None:
        tatr, layers = {"method": "task_arithmetic", "trust_region": TUNED}, {"method": "ada_merging"}
        assert [matched(tatr, name) for name in (B32, L14, B16)] == [(1, "TATR"), (2, "TATR"), (3, "TATR")]
        assert [matched(layers, name) for name in (L14, B16)] == [(2, "AdaMerging"), None]
        assert matched(layers | {"granularity": "task"}, L14) is None

    @pytest.mark.parametrize("count", [1, 2, 4, 8, 16, 32, 64])
    def test_numbers_of_exemplars_are_rows_of_table_5(self, count: int) -> None:
        raw = {"method": "task_arithmetic", "trust_region": TUNED | {"exemplars": count}}
        assert matched(raw) == (5, f"TATR, {count} exemplar{'s' if count > 1 else ''}")
        assert matched(raw, L14) is None

    @pytest.mark.parametrize("name", ["ntk", "positive", "negative"])
    def test_other_sensitivities_are_rows_of_table_6(self, name: str) -> None:
        region = {"sensitivity": name} | (TUNED if name == "ntk" else {})
        raw = {"method": "task_arithmetic", "trust_region": region}
        assert matched(raw) == (6, f"TATR {name}")
        assert FIXED_TAU not in paper_row(as_planned(raw), B32).notes
        assert matched(raw, L14) is None
        assert matched(raw | {"trust_region": region | {"exemplars": 8}}) is None

    def test_a_tau_that_was_not_tuned_has_a_footnote(self) -> None:
        tuned, fixed = (as_planned({"method": "ties", "trust_region": r}) for r in (TUNED, {"tau": 0.01}))
        assert FIXED_TAU not in paper_row(tuned, B32).notes
        assert FIXED_TAU in paper_row(fixed, B32).notes

    def test_tasks_that_are_not_merged_are_rows_of_table_4(self) -> None:
        tatr = as_planned({"method": "task_arithmetic", "trust_region": TUNED})
        first, second = (paper_row(tatr, B32, unseen) for unseen in (["EuroSAT", "MNIST"], ["RESISC45", "SVHN"]))
        assert (first.table, first.method) == (4, "TATR, MNIST and EuroSAT unseen")
        assert (first.average, first.unseen_average) == (72.3, 62.5)
        assert (second.average, second.unseen_average) == (75.3, None)
        assert paper_row(tatr, B32, ["EuroSAT"]) is None
        assert paper_row(tatr, B16, ["EuroSAT", "MNIST"]) is None
        assert paper_row(as_planned({"method": "ties"}), B32, ["EuroSAT", "MNIST"]) is None

    def test_references_are_rows_of_the_backbones_table(self) -> None:
        assert reference_row("Individual", L14) == Match(
            2, "Individual", dict(zip(TASKS, [82.3, 92.4, 97.4, 100.0, 98.1, 99.2, 99.7, 84.1], strict=True)), 94.2, ()
        )
        assert reference_row("Traditional MTL", B16) is None
        assert reference_row("Something else", B32) is None
        assert individual(B32)["Cars"] == 77.7
        assert individual("tiny-clip") == {}

    @pytest.mark.parametrize(
        ("model", "weights", "tasks", "expected"),
        [
            ("ViT-B-32-quickgelu", "openai", TASKS[::-1], B32),
            ("ViT-L-14", "openai", TASKS, L14),
            ("ViT-B-32", "laion2b_s34b_b79k", TASKS, None),
            ("ViT-B-32", None, TASKS, None),
            ("ViT-L-14-336", "openai", TASKS, None),
            ("ViT-B-16", "openai", TASKS[1:], None),
            ("ViT-B-16", "openai", [*TASKS, None], None),
            ("ViT-B-16", "openai", [*TASKS[1:], "Cars"], None),
        ],
    )
    def test_the_backbone_is_the_papers_with_its_weights_on_its_tasks(
        self, model: str, weights: str | None, tasks: list[str | None], expected: str | None
    ) -> None:
        assert paper_backbone(model, weights, tasks) == expected

    def test_every_row_of_the_methods_tables_can_be_reached(self) -> None:
        entries = coinciding()["rows"]
        for table in (1, 2, 3, 4):
            assert {entry["row"] for entry in entries if table in entry["tables"]} == rows(table).keys()

    def test_the_data_names_all_settings_of_a_method_as_they_are_now(self) -> None:
        for merge in (entry["merge"] for entry in coinciding()["rows"] if "merge" in entry):
            assert merge["settings"].keys() == load(merge["method"]).parameters.keys(), merge["method"]

    def test_a_setting_that_the_data_does_not_know_makes_it_another_method(self) -> None:
        planned = as_planned({"method": "ties"})
        assert paper_row(planned | {"settings": planned["settings"] | {"new": 1}}, B32) is None
        assert ANY not in planned["settings"].values()


NAMES = {"sun397": "SUN397", "cars": "Cars"}


@pytest.fixture
def settings() -> dict[str, Any]:
    """Of a table of two tasks, whose first and last rows the paper has."""
    first = Match(1, "TATR", {"SUN397": 62.7, "Cars": 59.3}, 72.8, ("lambda", "tau"))
    last = Match(1, "A|B", {"SUN397": 60.0, "Cars": 50.0}, 55.0, ("tau",))
    listed = [{"name": "Ours", "paper": asdict(first)}, {"name": "Own"}, {"name": "<Last>", "paper": asdict(last)}]
    return {"rows": listed, "digits": 1, "paper": comparison(B32, NAMES, [first, last])}


@pytest.fixture
def table() -> pd.DataFrame:
    """Columns are not in the paper's order."""
    columns = {"method": ["Ours", "Own", "<Last>"], "cars": [60.0, 1.0, 49.96], "sun397": [62.0, 2.0, 61.23]}
    columns |= {
        "average": [61.0, 1.5, 55.595],
        "normalised": [99.0] * 3,
        "coefficient": [0.3] * 3,
        "tau": [0.01] * 3,
        "unlabelled": [""] * 3,
    }
    return pd.DataFrame(columns).set_index("method")


class TestComparison:
    def test_three_lines_per_row_that_the_paper_has(self, table: pd.DataFrame, settings: dict[str, Any]) -> None:
        compared = compare(table, settings["rows"], NAMES)
        assert compared["method"].tolist() == ["Ours"] * 3 + ["<Last>"] * 3
        assert compared["value"].tolist() == ["paper", "ours", "difference"] * 2
        np.testing.assert_allclose(compared["cars"], [59.3, 60.0, 0.7, 50.0, 49.96, -0.04])
        np.testing.assert_allclose(compared["sun397"], [62.7, 62.0, -0.7, 60.0, 61.23, 1.23])
        np.testing.assert_allclose(compared["average"], [72.8, 61.0, -11.8, 55.0, 55.595, 0.595])

    def test_text_has_signs_and_footnotes_in_the_order_of_their_numbers(
        self, table: pd.DataFrame, settings: dict[str, Any]
    ) -> None:
        compared = compare(table, settings["rows"], NAMES)
        lines, notes = as_text(compared, {"cars": "My cars"}, 1, settings["paper"])
        assert lines[0] == ["Row", "In the paper", "", "My cars", "sun397 ¹", "average"]
        assert lines[1] == ["Ours", "Table 1: TATR ² ³", "paper", "59.3", "62.7", "72.8"]
        assert lines[3] == ["", "", "difference", "+0.7", "−0.7", "−11.8"]
        assert lines[4][1] == "Table 1: A|B ³"
        assert lines[6][3:] == ["0.0", "+1.2", "+0.6"]  # −0.04 reads as zero
        assert [note[:12] for note in notes] == ["¹ SUN397's o", "² The paper ", "³ The paper "]

    def test_unseen_tasks_stand_apart_and_what_the_paper_does_not_say_stays_empty(self) -> None:
        accuracies = {"SUN397": 62.0, "Cars": 60.0, "MNIST": 77.0}
        matches = [Match(4, name, accuracies, 61.0, (), average) for name, average in (("A", 77.5), ("B", None))]
        listed = [{"name": match.method, "paper": asdict(match)} for match in matches]
        columns = {"method": ["A", "B"], "sun397": 63.0, "cars": 60.0, "average": 61.5, "mnist": 70.0}
        table = pd.DataFrame(columns | {"unseen_average": 70.0, "coefficient": 0.3}).set_index("method")
        compared = compare(table, listed, NAMES | {"mnist": "MNIST"})
        about = comparison(B32, NAMES | {"mnist": "MNIST"}, matches)
        lines, _ = as_text(compared, {"mnist": "MNIST"}, 1, about)
        assert lines[0][3:] == ["sun397 ¹", "cars", "average", "MNIST (unseen)", "unseen average"]
        assert [line[3:] for line in lines[1:4]] == [
            ["62.0", "60.0", "61.0", "77.0", "77.5"],
            ["63.0", "60.0", "61.5", "70.0", "70.0"],
            ["+1.0", "0.0", "+0.5", "−7.0", "−7.5"],
        ]
        assert [line[-1] for line in lines[4:]] == ["", "70.0", ""]

    def test_markdown_has_as_many_cells_in_every_line(self, table: pd.DataFrame, settings: dict[str, Any]) -> None:
        lines, notes = as_text(compare(table, settings["rows"], NAMES), {}, 1, settings["paper"])
        text = markdown(lines, notes, ["look out"])
        grid = [line for line in text.splitlines() if line.startswith("|")]
        assert {len(re.split(r"(?<!\\)\|", line)) for line in grid} == {8}
        assert len(grid) == 2 + 6
        assert text.splitlines()[8:11] == ["", "**⚠ look out**", ""]

    def test_files_are_readable_each_in_its_way(
        self, table: pd.DataFrame, settings: dict[str, Any], tmp_path: Path
    ) -> None:
        written = files(table, settings, {}, ["§ left out"], ["look out & mend"])
        (tmp_path / "paper.csv").write_text(written["paper.csv"])
        assert averages(tmp_path / "paper.csv") == {"Ours": 72.8, "<Last>": 55.0}
        assert "<p class=warning>⚠ look out &amp; mend</p>" in written["paper.html"]
        assert "&lt;Last&gt;" in written["paper.html"]
        assert written["paper.md"].endswith("\n§ left out\n")
        tags: list[str] = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attributes: tags.append(tag)
        parser.handle_endtag = lambda tag: tags.append(f"/{tag}")
        parser.feed(written["paper.html"])
        for tag, count in {"tr": 7, "th": 6, "td": 36, "p": 5, "table": 1}.items():
            assert tags.count(tag) == tags.count(f"/{tag}") == count, tag

    def test_footnotes_beyond_nine_have_two_digits(self) -> None:
        assert superscript(10) == "¹⁰"
