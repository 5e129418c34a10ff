"""Where people find what a run made: the lines that it ends with."""

from collections.abc import Iterator
from pathlib import Path

from tatr.report.plain_text import counted
from tatr.workflow.plan import Plan

TABLE = (
    *("methods.md", "methods.csv", "per_seed.csv", "paired.csv", "costs.md", "paper.md", "paper.html"),
    *("published.md", "published.html"),
)
FIGURES = ("methods.png", "methods.svg", "analyses.md")


def places(plan: Plan) -> Iterator[str]:
    """A line per place, of what is there: the report, the table, the figures, the exported models."""
    if (report := Path(plan.report.folder) / "report.html").is_file():
        yield f"{'report':<8} {report}"
    for what, folder, names in (("table", plan.table.folder, TABLE), ("figures", plan.figures.folder, FIGURES)):
        if there := [name for name in names if (Path(folder) / name).is_file()]:
            yield f"{what:<8} {folder}/  {', '.join(there)}"
    exported = [planned.folder for planned in plan.exports if Path(planned.manifest).is_file()]
    if len(exported) > 3:
        yield f"{'models':<8} results/export/  {counted(len(exported), 'model')} of this configuration"
    else:
        yield from (f"{'model':<8} {folder}/" for folder in exported)
