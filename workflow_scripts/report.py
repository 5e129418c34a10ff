"""Make the report: one page with the table, the figures, each row class by class, what it cost and how it was made.

report.html holds all that it shows and fetches nothing; classes.csv has the accuracy and loss of each class. What was
measured in seconds is read from the benchmark records when the page is made, and is in no digest.
"""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.report.page.rendering import page_digest, rendered
    from tatr.workflow.report_content import content

    shown = content(job)
    page = job.folder / "report.html"
    page.write_text(rendered(shown), encoding="utf-8")
    job.add(page.name, page_digest(page))
    job.add_text("classes.csv", shown.downloads["classes.csv"])


STEP = Step(
    run,
    kind="report",
    reads={
        "table": "tables",
        "figures": "figures",
        "references": "evaluation",
        "merges": "evaluation",
        "heads": "head",
    },
    content="report.html",
    example="python workflow_scripts/report.py --table results/tables/demo-*/manifest.json "
    "--figures results/figures/demo-*/manifest.json --references results/evaluation/[ip]*/manifest.json"
    " --merges results/evaluation/task_arithmetic*/manifest.json --heads results/head/*/manifest.json "
    '--settings \'{"name": "demo", "backbone": "tiny-clip", "config": {}}\' --output results/report/mine/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
