"""Draw the methods table: results/figures/NAME-…/methods.{png,svg}."""

from tatr.command import Job, command


def run(job: Job) -> None:
    import pandas as pd

    from tatr.figures import methods_figure

    table = pd.read_csv(job.one("table") / "methods.csv", index_col="method")
    figure = methods_figure(table, job.settings["width"], job.settings["colour"])
    for name in ("methods.png", "methods.svg"):
        # Without a date, equal tables give equal files.
        figure.savefig(job.folder / name, dpi=150, metadata={"Date": None} if name.endswith("svg") else None)
        job.add_file(name)


if __name__ == "__main__":
    command(
        run,
        kind="figures",
        reads={"table": "tables"},
        example="python workflow_scripts/figures.py --table results/tables/demo/manifest.json "
        '--settings \'{"width": 8, "colour": "tab:blue"}\' --output results/figures/demo/manifest.json',
    )
