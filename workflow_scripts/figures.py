"""Draw the methods table: results/figures/NAME-…/methods.{png,svg}."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.report.figures import methods_figure, rendered
    from tatr.report.paper.comparison import averages
    from tatr.report.tables import load_table

    tables = job.one("table")
    paper = averages(tables / "paper.csv") if "paper.csv" in tables.manifest.content else {}
    table = load_table(tables / "methods.csv")
    for name, content in rendered(methods_figure(table, job.settings["width"], job.settings["colour"], paper)).items():
        (job.folder / name).write_bytes(content)
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
