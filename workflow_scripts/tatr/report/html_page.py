"""A table as an HTML page, which Snakemake's report displays (it only offers CSV and Markdown for download)."""

from collections.abc import Sequence
from html import escape

STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: #222; background: #fff }
table { border-collapse: collapse }
th, td { padding: .15em .6em; text-align: right; white-space: nowrap }
.word { text-align: left }
thead th { border-bottom: 1px solid #999 }
tr.first td { border-top: 1px solid #ddd }
.warning { color: #b00020; font-weight: bold }
.note { max-width: 70em; margin: .4em 0; font-size: 13px }
"""


def page(
    title: str,
    lines: Sequence[Sequence[str]],
    words: int,
    *,
    warnings: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> str:
    """A whole page, self-contained: title, warnings in red, the table, notes under it.

    Args:
        title: of the page.
        lines: the heading and the rows, each a list of cells. A row with a first cell starts a group.
        words: how many columns, from the left, are words and not figures.
        warnings: above the table.
        notes: under it.
    """
    head, *rows = (
        "".join(f"<{tag}{_class(index < words)}>{escape(cell)}</{tag}>" for index, cell in enumerate(line))
        for tag, line in zip(("th", *["td"] * (len(lines) - 1)), lines, strict=True)
    )
    body = [f"<tr{' class=first' if line[0] else ''}>{row}</tr>" for row, line in zip(rows, lines[1:], strict=True)]
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        f"<style>{STYLE}</style></head><body>",
        f"<h3>{escape(title)}</h3>",
        *(f"<p class=warning>⚠ {escape(warning)}</p>" for warning in warnings),
        f"<table><thead><tr>{head}</tr></thead><tbody>",
        *body,
        "</tbody></table>",
        *(f"<p class=note>{escape(note)}</p>" for note in notes),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _class(word: bool) -> str:
    return " class=word" if word else ""
