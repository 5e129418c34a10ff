"""Time and memory of every stage, from what Snakemake measured while the jobs ran.

example: python benchmarks/stages.py results/benchmarks
"""

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table


def read(folder: Path) -> pd.DataFrame:
    """One row per job: stage, seconds (wall), CPU seconds, peak memory in MiB."""
    files = sorted(folder.glob("*/*.tsv"))
    if not files:
        raise SystemExit(f"{folder}: holds no benchmark files; run `make demo` first, or name another folder")
    jobs = pd.concat([pd.read_csv(file, sep="\t").assign(stage=file.parent.name) for file in files])
    return jobs.rename(columns={"s": "seconds", "cpu_time": "cpu", "max_rss": "memory"})


def summarise(jobs: pd.DataFrame) -> pd.DataFrame:
    """One row per stage, the most expensive first."""
    stages = jobs.groupby("stage").agg(
        jobs=("seconds", "size"),
        cpu_total=("cpu", "sum"),
        seconds_median=("seconds", "median"),
        seconds_longest=("seconds", "max"),
        memory_peak=("memory", "max"),
    )
    return stages.sort_values("cpu_total", ascending=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results/benchmarks"))
    stages = summarise(read(parser.parse_args().folder))
    table = Table("Stage", title="Cost of each stage", caption=f"CPU seconds in all: {stages['cpu_total'].sum():.0f}")
    for column in ("jobs", "CPU s, all jobs", "s, median job", "s, longest job", "peak MiB"):
        table.add_column(column, justify="right")
    for stage, row in stages.iterrows():
        numbers = f"{row.cpu_total:.1f}", f"{row.seconds_median:.1f}", f"{row.seconds_longest:.1f}"
        table.add_row(str(stage), f"{row.jobs:.0f}", *numbers, f"{row.memory_peak:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
