"""Hold the individual models' accuracies against what is expected of them (sanity.json, sanity.csv, sanity.html)."""

import json

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.measuring.sanity import as_page, as_table, check, deviations, verdict

    results = [json.loads((evaluation / "scores.json").read_text()) for evaluation in job.inputs["evaluations"]]
    settings = job.settings
    found = check(results, settings["expected"], settings["tolerance"], settings["source"])
    off = deviations(found)
    if off and settings.get("stop", False):
        raise TatrError(f"{verdict(found)}, and the configuration says to stop then: {'; '.join(off)}")
    job.add_json("sanity.json", found)
    as_table(found).to_csv(job.folder / "sanity.csv")
    job.add_file("sanity.csv")
    (job.folder / "sanity.html").write_text(as_page(found), encoding="utf-8")
    job.add_file("sanity.html")


STEP = Step(
    run,
    kind="sanity",
    reads={"evaluations": "evaluation"},
    content="sanity.json",
    example="python workflow_scripts/sanity.py --evaluations results/evaluation/individual_*/manifest.json "
    '--settings \'{"expected": {"cars": 77.7, "dtd": 79.4}, "tolerance": 1.0, "source": "the paper, Table 1"}\' '
    "--output results/sanity/mine/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
