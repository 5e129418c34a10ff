"""Draw the methods table and the analyses: results/figures/NAME-…/*.{png,svg}, and analyses.md, which says what they
show.
"""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    import pandas as pd

    from tatr.report.analyses_page import page
    from tatr.report.figures import methods_figure
    from tatr.report.paper.comparison import averages
    from tatr.report.plots import drawn, renamed
    from tatr.report.style import rendered
    from tatr.report.tables import load_table

    tables = job.one("table")
    paper = averages(tables / "paper.csv") if "paper.csv" in tables.manifest.content else {}
    files = rendered(
        methods_figure(load_table(tables / "methods.csv"), job.settings["width"], job.settings["colour"], paper),
        "methods",
    )
    seeds: dict[str, list[pd.DataFrame]] = {}
    for artefact in job.inputs["analyses"]:
        table = renamed(pd.read_csv(artefact / "table.csv"), job.settings.get("rows", {}))
        seed = job.settings["seeds"][artefact.manifest.name]
        seeds.setdefault(artefact.manifest.settings["analysis"], []).append(
            table if "seed" in table else table.assign(seed=seed)
        )
    analyses = {name: pd.concat(found, ignore_index=True) for name, found in seeds.items()}
    for name, table in analyses.items():
        files |= rendered(drawn(name, table, job.settings["names"]), name)
        files[f"{name}.csv"] = table.to_csv(index=False).encode()
    if analyses:
        files["analyses.md"] = page(analyses, job.settings["analyses"]).encode()
    for name, content in files.items():
        (job.folder / name).write_bytes(content)
        job.add_file(name)


STEP = Step(
    run,
    kind="figures",
    reads={"table": "tables", "analyses": "analysis"},
    content="methods.png",
    example="python workflow_scripts/figures.py --table results/tables/demo/manifest.json "
    '--settings \'{"width": 8, "colour": "tab:blue"}\' --output results/figures/demo/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
