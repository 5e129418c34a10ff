"""Look at what a run made: task vectors, trust regions, rows of the table. One table per analysis (table.csv)."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    import pandas as pd

    from tatr.errors import TatrError
    from tatr.report.analyses import load
    from tatr.workflow.analysis_inputs import open_needs

    analysis = load(job.settings["analysis"])
    lines = [*analysis.formula(**open_needs(job, analysis.needs), **job.settings["settings"])]
    if not lines:
        raise TatrError(f"analyses.{analysis.name}: found nothing to show; docs/analyses.md says what it needs")
    job.add_text("table.csv", pd.DataFrame(lines).to_csv(index=False))


STEP = Step(
    run,
    kind="analysis",
    reads={
        "layout": "backbone",
        "task_vectors": "task_vector",
        "gradients": "gradient",
        "signed_gradients": "signed_gradient",
        "masks": "mask",
        "regions": "mask",
        "rows": "evaluation",
        "without_one": "evaluation",
        "splits": "evaluation",
        "components": "evaluation",
        "landscapes": "landscape",
    },
    content="table.csv",
    example="python workflow_scripts/analysis.py --task-vectors results/task_vector/*/manifest.json "
    '--settings \'{"analysis": "similarity", "settings": {}}\' --output results/analysis/similarity/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
