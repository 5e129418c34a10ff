"""Compare the individual models' accuracies with what is expected of them (sanity.json, sanity.csv, sanity.html)."""

import json

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.measuring.sanity import as_table, check, deviations, verdict
    from tatr.report.sanity_page import sanity_page

    results = [
        json.loads((evaluation / "scores.json").read_text(encoding="utf-8")) for evaluation in job.inputs["evaluations"]
    ]
    settings = job.settings
    limits = (settings["expected"], settings["tolerance"], settings["stated_by"])
    comparison = check(results, *limits, settings.get("sets", ()))
    off = deviations(comparison)
    if off and settings.get("stop", False):
        raise TatrError(f"{verdict(comparison)}, and the configuration says to stop then: {'; '.join(off)}")
    job.add_json("sanity.json", comparison)
    as_table(comparison).to_csv(job.folder / "sanity.csv")
    job.add_file("sanity.csv")
    (job.folder / "sanity.html").write_text(sanity_page(comparison), encoding="utf-8")
    job.add_file("sanity.html")


STEP = Step(
    run,
    kind="sanity",
    reads={"evaluations": "evaluation"},
    content="sanity.json",
    example="python workflow_scripts/sanity.py --evaluations results/evaluation/individual_*/manifest.json "
    '--settings \'{"expected": {"cars": 77.7, "dtd": 79.4}, "tolerance": 1.0, "stated_by": "the paper, Table 1"}\' '
    "--output results/sanity/mine/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
