"""Draw the methods table: results/figures/NAME-…/methods.{png,svg}."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.report.figures import methods_figure
    from tatr.report.tables import load_table

    made = job.one("table")
    table = load_table(made / "methods.csv")
    paper = {}
    if "paper.csv" in made.manifest.content:
        from tatr.report.paper.beside import averages

        paper = averages(made / "paper.csv")
    figure = methods_figure(table, job.settings["width"], job.settings["colour"], paper)
    for name in ("methods.png", "methods.svg"):
        # Without a date, equal tables give equal files.
        figure.savefig(job.folder / name, dpi=150, metadata={"Date": None} if name.endswith("svg") else None)
        job.add_file(name)


STEP = Step(
    run,
    kind="figures",
    reads={"table": "tables"},
    content="methods.png",
    example="python workflow_scripts/figures.py --table results/tables/demo/manifest.json "
    '--settings \'{"width": 8, "colour": "tab:blue"}\' --output results/figures/demo/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
