"""The page's template, filled in."""

import pytest
from markupsafe import Markup

from tatr.report.page.main_table import Shown
from tatr.report.page.rendering import Content, TextTable, rendered

BESIDE = TextTable(["Row", "published, %"], [["TSV-<M>", "85.9"]])
TABLE = TextTable(["Stage"], [["merge"]])


def content(paper: TextTable | None, published: TextTable | None) -> Content:
    return Content(
        title="Merged models: x",
        summary=[],
        warnings=[],
        table=Shown(["average"], []),
        table_notes=[],
        charts={name: {"description": "drawn"} for name in ("methods", "tasks", "details")},
        pictures=[],
        paper=paper,
        paper_notes=[],
        published=published,
        published_notes=["sets <differ>"],
        classes_shown=30,
        stages=TABLE,
        costs=TABLE,
        costs_notes=[],
        configuration="name: x",
        made=TABLE,
        artefacts=TABLE,
        downloads={},
    )


def test_published_tables_have_a_section_each_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = dict.fromkeys(("vega", "datatables", "datatables_style"), Markup())
    monkeypatch.setattr("tatr.report.page.rendering._libraries", lambda: libraries)
    page = rendered(content(None, BESIDE))
    assert '<a href="#published">' in page
    assert '<h2 id="published">' in page
    assert "TSV-&lt;M&gt;" in page
    assert "sets &lt;differ&gt;" in page
    assert 'id="paper"' not in page
    page = rendered(content(BESIDE, None))
    assert '<h2 id="paper">' in page
    assert 'id="published"' not in page
