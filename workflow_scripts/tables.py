"""Gather the evaluations into the methods table (methods.csv, methods.md), and what was searched (search.csv)."""

import json

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr.tables import markdown, methods_table, search_table

    evaluations = [*job.inputs["references"], *job.inputs["merges"]]
    scores = {e.manifest.name: json.loads((e / "scores.json").read_text()) for e in evaluations}
    table = methods_table(job.settings["rows"], scores, job.settings["tasks"])
    table.to_csv(job.folder / "methods.csv")
    text = markdown(table, job.settings["names"], job.settings["digits"])
    (job.folder / "methods.md").write_text(text)
    search_table(job.settings["rows"], scores).to_csv(job.folder / "search.csv", index=False)
    for name in ("methods.csv", "methods.md", "search.csv"):
        job.add_file(name)


if __name__ == "__main__":
    command(
        run,
        kind="tables",
        reads={"references": "evaluate", "merges": "evaluate"},
        example="python workflow_scripts/tables.py --references results/evaluate/individual_*/manifest.json "
        "--merges results/evaluate/task_arithmetic*/manifest.json --settings table.json "
        "--output results/tables/mine/manifest.json",
    )
