"""The docs page of each merging method, made from its docstring, its settings and the benchmark's table."""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tatr.config.merges import settings_of
from tatr.config.messages.words import expected, of_field
from tatr.config.region_tables import average_of, row_of
from tatr.merging.methods import Method, load
from tatr.report.markdown import table as markdown_table
from tatr.report.table_text import markdown
from tatr.report.tables import SEEDS, accuracies, load_table

LABEL = r"([A-Z][A-Za-z' ]{2,40}):\s"
"""What a paragraph of a method's docstring may start with, such as `Cost: …`."""


def page(name: str, results: Path) -> str:
    """Markdown: formula, source, mask, defaults, cost, settings, and the method's rows on the benchmark.

    Args:
        name: of the method.
        results: the benchmark's methods table (CSV); a missing one is left out.
    """
    method = load(name)
    formula, *paragraphs = _paragraphs(method)
    lines = [
        f"# {method.title}",
        "",
        f"<!-- Made by config_docs.py from workflow_scripts/tatr/merging/methods/{name}.py. Edit that. -->",
        "",
        "```",
        formula.removesuffix("."),
        "```",
        "",
        *(line for paragraph in paragraphs for line in (_labelled(paragraph), "")),
        "## In a configuration",
        "",
        "```yaml",
        f"- {{method: {name}}}",
        f"- {{method: {name}, trust_region: {{tau: 0.01}}}}",
        "```",
        "",
        f"λ is {method.coefficient:g} unless `coefficient` says otherwise.",
        "",
        *_settings(method),
        *_results(method, results),
        "[All methods](../methods.md)",
    ]
    return "\n".join(lines) + "\n"


def _paragraphs(method: Method) -> list[str]:
    text = inspect.cleandoc(method.formula.__doc__ or "").partition("\nRaises:")[0]
    # A line that starts with a label, such as `Cost:`, begins a paragraph of its own.
    text = re.sub(rf"\n(?={LABEL})", "\n\n", text)
    return [paragraph.strip() for paragraph in re.split(r"\n\s*\n", text) if paragraph.strip()]


def _labelled(paragraph: str) -> str:
    # A word becomes the start of a sentence; a symbol (λ, r) stays as it is.
    start = rf"^{LABEL}([a-z](?=[a-z])|a(?= ))?"
    return re.sub(start, lambda match: f"**{match[1]}.** {(match[2] or '').upper()}", paragraph)


def _settings(method: Method) -> Iterator[str]:
    fields = settings_of(method).model_fields
    if not fields:
        return
    lines = [["setting", "default", "what", "allowed"]]
    for name, field in fields.items():
        default = "required" if field.is_required() else f"`{_yaml(field.default)}`"
        lines.append([f"`{name}`", default, field.description or "", expected(of_field(field))])
    yield from [markdown_table(lines, "llll"), ""]


def _yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _results(method: Method, results: Path) -> Iterator[str]:
    if not results.is_file():
        return
    table = load_table(results)
    of_method = re.compile(rf"{re.escape(method.title)}(,| \+|$)")
    rows = [name for name in table.index if of_method.match(name)]
    if not rows:
        return
    yield from ["## On the embedded benchmark", ""]
    seeds = int(table[SEEDS].max()) if SEEDS in table else 1  # rows that no seed shapes have 1
    yield "Test accuracy in %, average over the tasks of [tiny8](../../data/tiny8.md), " + (
        f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    )
    yield "([all rows](../../report/results.md))."
    lines = [["row", "average", "lowest task", "highest task", "λ"]]
    for name in rows:
        row = row_of(table, name)
        tasks = accuracies(table).loc[[name]].drop(columns="average").iloc[0]
        low, high = f"{tasks.min():.1f} ({tasks.idxmin()})", f"{tasks.max():.1f} ({tasks.idxmax()})"
        lines.append([name, average_of(row), low, high, f"{row['coefficient']:g}"])
    yield from ["", markdown_table(lines, "lrrrr"), ""]


def table_of_results(results: Path) -> str:
    """The benchmark's table, read from a CSV file, in Markdown."""
    return markdown(load_table(results), {}, 1)


def with_tables(text: str, tables: Mapping[str, str]) -> str:
    """A page with each table between the two marks that have its name."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by workflow_scripts/config_docs.py -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
    return text
