"""The report's main table: order of columns, what cells sort by, bars and marks."""

import pandas as pd
import pytest
from answered import answered, scores

from tatr.report.page.main_table import Shown, shown
from tatr.report.tables import methods_table

SETTINGS = {"tasks": ["cars"], "unseen": ["signs"], "names": {"cars": "Cars"}, "digits": 1}
ACCURACIES = {"Pre-trained": 0.4, "Individual": 0.9, "ta": 0.5, "tatr": 0.7, "other": 0.6}


@pytest.fixture(scope="module")
def table() -> Shown:
    rows = [{"name": name, "evaluations": [name], "reference": name[0].isupper()} for name in ACCURACIES]
    rows[3]["without"] = ["ta"]
    found = {name: scores(0.3, cars=accuracy, signs=accuracy / 2) for name, accuracy in ACCURACIES.items()}
    predictions = {name: answered(cars=accuracy, signs=accuracy / 2) for name, accuracy in ACCURACIES.items()}
    made: pd.DataFrame = methods_table(rows, found, predictions, ["cars"], ["signs"])
    return shown(made, SETTINGS, {"signs": 2})


def test_the_average_and_its_certainty_stand_before_the_tasks(table: Shown) -> None:
    assert table.headings[:4] == ["average", "95 %", "over none", "Cars"]
    assert table.headings[4:] == [
        *("of individual", "signs § (unseen)", "unseen average", "λ", "unseen 95 %", "unseen over none"),
    ]
    assert [line.name for line in table.lines] == [*ACCURACIES]
    assert [line.reference for line in table.lines] == [True, True, False, False, False]


def test_cells_sort_by_their_figures_and_not_by_their_text(table: Shown) -> None:
    for index, heading in enumerate(table.headings):
        cells = [line.cells[index] for line in table.lines]
        assert all((cell.order is None) == (cell.text == "") for cell in cells), heading
    assert [line.cells[0].order for line in table.lines] == pytest.approx([40, 90, 50, 70, 60])
    assert table.lines[3].cells[2].order == pytest.approx(20)


def test_accuracies_have_bars_and_nothing_else_has(table: Shown) -> None:
    with_bars = [heading for heading, cell in zip(table.headings, table.lines[0].cells, strict=True) if cell.share]
    assert with_bars == ["average", "Cars", "of individual", "signs § (unseen)", "unseen average"]


def test_marks_are_said_in_words(table: Shown) -> None:
    cells = {line.name: line.cells for line in table.lines}
    assert (cells["tatr"][0].words, cells["other"][0].words) == ("best merge", "second best")
    assert (cells["Individual"][0].words, cells["ta"][0].words) == ("", "")
    assert (cells["tatr"][2].certain, cells["tatr"][2].words) == (True, "interval excludes zero")
