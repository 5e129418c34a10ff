"""Tables in Markdown: alignment, escaping, remarks."""

import pytest

from tatr.report.markdown import table, with_remarks


def test_a_table_has_a_rule_per_column_and_escapes_bars() -> None:
    lines = [["what", "share"], ["|Δ|", "1"]]
    assert table(lines, "lr").splitlines() == ["| what | share |", "| --- | ---: |", r"| \|Δ\| | 1 |"]


def test_a_line_with_a_cell_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 columns .* \[2, 3\]"):
        table([["a", "b"], ["1", "2", "3"]], "lr")


def test_warnings_come_before_notes_each_as_a_paragraph() -> None:
    assert with_remarks("| a |", ["off"], ["a note"]) == "| a |\n\n**⚠ off**\n\na note\n"
    assert with_remarks("| a |") == "| a |\n"
