"""Gather the evaluations into the methods table (methods.csv, methods.md), and what was searched (search.csv).

Where the paper has the same rows, its figures beside ours, too (paper.csv, paper.md, paper.html).
"""

import json

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.measuring.sanity import deviations
    from tatr.report.tables import markdown, marked_tasks, methods_table, search_table, skipped, skipped_notes

    evaluations = [*job.inputs["references"], *job.inputs["merges"]]
    scores = {e.manifest.name: json.loads((e / "scores.json").read_text()) for e in evaluations}
    table = methods_table(job.settings["rows"], scores, job.settings["tasks"])
    table.to_csv(job.folder / "methods.csv")
    names, digits, left_out = job.settings["names"], job.settings["digits"], skipped(scores)
    sanity = json.loads((job.one("sanity") / "sanity.json").read_text()) if job.inputs["sanity"] else {}
    warnings = deviations(sanity, names) if sanity else []
    columns, further = marked_tasks(job.settings["tasks"], names, left_out), skipped_notes(names, left_out)
    (job.folder / "methods.md").write_text(markdown(table, columns, digits, further, warnings), encoding="utf-8")
    search_table(job.settings["rows"], scores).to_csv(job.folder / "search.csv", index=False)
    for name in ("methods.csv", "methods.md", "search.csv"):
        job.add_file(name)
    job.add_json("remarks.json", {"skipped": left_out, "warnings": warnings})
    if job.settings.get("paper"):
        from tatr.report.paper.beside import files

        for name, text in files(table, job.settings, columns, further, warnings).items():
            (job.folder / name).write_text(text, encoding="utf-8")
            job.add_file(name)


STEP = Step(
    run,
    kind="tables",
    reads={"references": "evaluation", "merges": "evaluation", "sanity": "sanity"},
    content="methods.csv",
    example="python workflow_scripts/tables.py --references results/evaluation/individual_*/manifest.json "
    "--merges results/evaluation/task_arithmetic*/manifest.json --settings table.json "
    "--output results/tables/mine/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
