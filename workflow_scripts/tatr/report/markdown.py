"""Tables in Markdown, and what stands under them."""

from collections.abc import Sequence

RULES = {"l": "---", "r": "---:"}
"""The line under the heading, by how a column is aligned."""


def table(lines: Sequence[Sequence[str]], align: str) -> str:
    """A table, without a line break at its end.

    Args:
        lines: the heading and the rows, each a list of cells. A `|` in a cell is escaped.
        align: a letter per column: "l" (left) or "r" (right).

    Raises:
        ValueError: a line has more or fewer cells than there are columns.
    """
    if any(len(line) != len(align) for line in lines):
        raise ValueError(f"{len(align)} columns are aligned, but lines have {sorted({len(line) for line in lines})}")
    heading, *rows = ([cell.replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, [RULES[letter] for letter in align], *rows))


def with_remarks(table: str, warnings: Sequence[str] = (), notes: Sequence[str] = ()) -> str:
    """A whole file: the table, then warnings in bold, then notes, each a paragraph."""
    return "\n".join([table, *(f"\n**⚠ {warning}**" for warning in warnings), *(f"\n{note}" for note in notes)]) + "\n"
