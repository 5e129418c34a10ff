"""Gather the evaluations into the methods table (methods.csv, methods.md, methods.html), what trust regions change task
by task (paired.csv), and what was searched (search.csv, search.html).

Of several seeds, methods.csv has the means, and per_seed.csv the figures of each. Where the paper has some of the rows,
its figures next to ours, too (paper.csv, paper.md, paper.html); and where others publish averages of some, these
(published.csv, published.md, published.html).
"""

import json

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.measuring.predictions import FILE, load_predictions
    from tatr.measuring.sanity import warnings as warnings_of
    from tatr.report.learning import learnt_little
    from tatr.report.norms import unequal_norms
    from tatr.report.table_files import files

    evaluations = [*job.inputs["references"], *job.inputs["merges"]]
    scores = {e.manifest.name: json.loads((e / "scores.json").read_text(encoding="utf-8")) for e in evaluations}
    predictions = {evaluation.manifest.name: load_predictions(evaluation / FILE) for evaluation in evaluations}
    sanity = json.loads((job.one("sanity") / "sanity.json").read_text(encoding="utf-8")) if job.inputs["sanity"] else {}
    settings = job.settings
    warnings = warnings_of(sanity, settings["names"]) if sanity else []
    rows = [each["rows"] for each in settings.get("seeds", ())] or [settings["rows"]]
    warnings += learnt_little(rows, predictions, settings["tasks"], settings["names"], settings.get("imported", ()))
    norms: dict[str, list[float]] = {}
    for vector in job.inputs["task_vectors"]:
        norm = json.loads((vector / "norm.json").read_text(encoding="utf-8"))["norm"]
        norms.setdefault(str(vector.manifest.settings["task"]), []).append(norm)
    warnings += unequal_norms({task: sum(its) / len(its) for task, its in norms.items()}, settings["names"])
    for name, text in files(settings, scores, predictions, warnings, sanity.get("sets")).items():
        (job.folder / name).write_text(text, encoding="utf-8")
        job.add_file(name)


STEP = Step(
    run,
    kind="tables",
    reads={"references": "evaluation", "merges": "evaluation", "task_vectors": "task_vector", "sanity": "sanity"},
    content="methods.csv",
    example="python workflow_scripts/tables.py --references results/evaluation/individual_*/manifest.json "
    "--merges results/evaluation/task_arithmetic*/manifest.json --settings table.json "
    "--output results/tables/mine/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
