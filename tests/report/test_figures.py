"""The figure of the methods table."""

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from tatr.report.figures import methods_figure
from tatr.report.style import rendered

mpl.use("Agg")


@pytest.fixture
def table() -> pd.DataFrame:
    columns = {"method": ["Pre-trained", "TA", "TATR"], "cars": [40.0, 60.0, 70.0], "average": [40.0, 60.0, 70.0]}
    columns |= {"coefficient": [float("nan"), 0.3, 0.3], "tau": [float("nan")] * 3, "unlabelled": [""] * 3}
    return pd.DataFrame(columns).set_index("method")


def marks(figure: Figure) -> dict[str, list[list[float]]]:
    """Positions of filled and of hollow marks."""
    positions: dict[str, list[list[float]]] = {"filled": [], "hollow": []}
    for collection in figure.axes[0].collections:
        kind = "filled" if len(collection.get_facecolor()) else "hollow"
        positions[kind] += collection.get_offsets().tolist()
    return positions


def test_the_papers_averages_are_hollow_marks_on_the_rows_that_it_has(table: pd.DataFrame) -> None:
    figure = methods_figure(table, 6, "tab:blue", {"TATR": 72.8, "Pre-trained": 48.0, "other": 1.0})
    assert marks(figure)["hollow"] == [[48.0, 0], [72.8, 2]]
    assert "hollow: the paper's average" in figure.axes[0].get_xlabel()


def test_without_the_paper_all_is_as_before(table: pd.DataFrame) -> None:
    figure = methods_figure(table, 6, "tab:blue")
    assert marks(figure)["hollow"] == []
    assert marks(figure)["filled"] == [[x, row] for x, row in ((40, 0), (60, 1), (70, 2))] * 2
    assert "paper" not in figure.axes[0].get_xlabel()
    averages = figure.axes[0].collections[-1]
    assert averages.get_facecolor()[1:].tolist() == [list(to_rgba("tab:blue"))] * 2


def test_unseen_tasks_are_one_mark_per_row(table: pd.DataFrame) -> None:
    figure = methods_figure(table.assign(signs=[1.0, 2.0, 3.0], unseen_average=[1.0, 2.0, 3.0]), 6, "tab:blue")
    assert marks(figure)["filled"] == [
        *([x, row] for x, row in ((40, 0), (60, 1), (70, 2))),
        *([x, row] for x, row in ((40, 0), (60, 1), (70, 2))),
        *([x, row] for x, row in ((1, 0), (2, 1), (3, 2))),
    ]
    assert "diamond: average over unseen tasks" in figure.axes[0].get_xlabel()


def test_equal_figures_give_equal_files(table: pd.DataFrame) -> None:
    files = [rendered(methods_figure(table, 6, "tab:blue"), "methods") for _ in range(2)]
    assert files[0] == files[1]
    assert files[0]["methods.png"].startswith(b"\x89PNG")
    assert b"<svg" in files[0]["methods.svg"]
