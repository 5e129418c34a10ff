"""Tables as HTML pages for Snakemake's report."""

import pandas as pd
from answered import answers_of, scores

from tatr.report.table_pages import methods_page, search_page
from tatr.report.tables import methods_table


def test_the_methods_page_marks_the_best_and_the_second_best() -> None:
    evaluations = {"pre": scores(0, cars=0.4), "ta": scores(0.3, cars=0.5), "<b>": scores(0.3, cars=0.6)}
    rows = [{"name": name, "evaluations": [name], "reference": name == "pre"} for name in evaluations]
    table = methods_table(rows, evaluations, answers_of(evaluations), ["cars"])
    page = methods_page(table, {"cars": "Cars"}, 1, ["a note"], ["a warning"])
    assert "<td class=word>&lt;b&gt;</td><td>★ 60.0</td>" in page
    assert "<td class=word>ta</td><td>☆ 50.0</td>" in page
    assert "<th>Cars</th>" in page and "a note" in page and "⚠ a warning" in page


def test_the_search_page_shows_each_candidate_and_which_was_chosen() -> None:
    lines = [("ta", 0.01, 0.2, 50.04, False), ("ta", float("nan"), 0.3, 60.0, True)]
    page = search_page(pd.DataFrame(lines, columns=["method", "tau", "coefficient", "validation", "taken"]))
    assert "<td>1 %</td><td>0.2</td><td>50.0</td><td></td>" in page
    assert "<td></td><td>0.3</td><td>60.0</td><td>✓</td>" in page


def test_the_search_page_says_that_nothing_was_tried() -> None:
    assert "No row chooses" in search_page(
        pd.DataFrame(columns=["method", "tau", "coefficient", "validation", "taken"])
    )
