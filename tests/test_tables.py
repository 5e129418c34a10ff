"""The methods table: rows, averages, ranks among merges, Markdown."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tatr.tables import formatted, markdown, methods_table, ranks

TASKS = ["cars", "digits"]


def scores(coefficient: float, **accuracies: float) -> dict[str, Any]:
    return {
        "coefficient": coefficient,
        "scores": {task: {"accuracy": accuracy} for task, accuracy in accuracies.items()},
    }


@pytest.fixture
def table() -> pd.DataFrame:
    found = {
        "pre": scores(0, digits=0.4, cars=0.5),
        "individual cars": scores(1, cars=0.99),
        "individual digits": scores(1, digits=0.97),
        "average": scores(1, cars=0.6, digits=0.70),
        "ta": scores(0.3, cars=0.8, digits=0.6),
        "tatr": scores(0.3, cars=0.8002, digits=0.65),
        "unused": scores(0.3, cars=1, digits=1),
    }
    rows = [
        {"name": "Pre-trained", "evaluations": ["pre"]},
        {"name": "Individual", "evaluations": ["individual digits", "individual cars"]},
        {"name": "Average", "evaluations": ["average"]},
        {"name": "TA", "evaluations": ["ta"]},
        {"name": "TATR", "evaluations": ["tatr"]},
    ]
    return methods_table(rows, found, TASKS)


def test_accuracies_are_percent_in_the_order_of_rows_and_tasks(table: pd.DataFrame) -> None:
    assert list(table.index) == ["Pre-trained", "Individual", "Average", "TA", "TATR"]
    assert list(table.columns) == ["cars", "digits", "average", "coefficient"]
    np.testing.assert_allclose(table.loc["TA"], [80, 60, 70, 0.3])
    np.testing.assert_allclose(table.loc["Individual"][:3], [99, 97, 98])


def test_references_have_no_coefficient(table: pd.DataFrame) -> None:
    assert table["coefficient"].isna().tolist() == [True, True, False, False, False]


def test_the_best_two_merges_are_ranked_and_references_are_not(table: pd.DataFrame) -> None:
    placed = ranks(table, 1)
    assert placed["digits"].tolist() == [0, 0, 1, 0, 2]
    assert placed["average"].tolist() == [0, 0, 0, 2, 1]


def test_what_reads_the_same_is_ranked_the_same(table: pd.DataFrame) -> None:
    assert ranks(table, 1)["cars"].tolist() == [0, 0, 2, 1, 1]  # 80.00 and 80.02 in one decimal
    assert ranks(table, 2)["cars"].tolist() == [0, 0, 0, 2, 1]


def test_cells_show_the_asked_decimals_names_and_marks(table: pd.DataFrame) -> None:
    text = formatted(table, {"cars": "Cars"}, 2, {0: "{}", 1: "<{}>", 2: "({})"})
    assert list(text.columns) == ["Cars", "digits", "average", "λ"]
    assert text.loc["TATR"].tolist() == ["<80.02>", "(65.00)", "<72.51>", "0.3"]
    alike = formatted(table, {"cars": "Mine", "digits": "Mine"}, 1, {0: "{}", 1: "{}", 2: "{}"})
    assert alike.loc["Pre-trained"].tolist() == ["50.0", "40.0", "45.0", ""]
    assert text.loc["Pre-trained"].tolist() == ["50.00", "40.00", "45.00", ""]


def test_markdown_is_a_table_with_bold_and_italics(table: pd.DataFrame) -> None:
    lines = markdown(table, {"cars": "Cars"}, 1).splitlines()
    assert lines[:2] == ["| Method | Cars | digits | average | λ |", "| --- | ---: | ---: | ---: | ---: |"]
    assert lines[-1] == "| TATR | **80.0** | *65.0* | **72.5** | 0.3 |"
    assert len(lines) == 7
