"""What each merge cost beyond the individual models: time, memory and reading, as Snakemake measured its jobs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tatr.report.markdown import table as markdown_table
from tatr.report.markdown import with_remarks

MIB = 2**20

NOTES = (
    "Of the jobs that a row needs beyond the individual models: gradients, sensitivities, masks, Fisher information, "
    "Gram matrices, learnt coefficients, merges, Surgery's modules. Rows share jobs; each row counts them in full. "
    "Fine-tuning, images, heads and evaluations are left out.",
    "Seconds are the jobs' run times added up; the peak is that of the largest job, 0 where all were too short to be "
    "sampled; what was read from memory instead of disk is not counted.",
)


class Record(NamedTuple):
    """What was measured of one job."""

    seconds: float
    """Wall clock."""
    peak_mib: float
    """Largest resident memory; NaN or 0 if the job was too short."""
    bytes_read: float
    """From disk; NaN if the job was too short."""


def load_record(path: Path) -> Record | None:
    """Read a benchmark record of Snakemake's; None if there is none that can be read."""
    try:
        line = pd.read_csv(path, sep="\t", na_values="-").iloc[-1]
        seconds, peak, read = (float(line[name]) for name in ("s", "max_rss", "io_in"))
    except (OSError, ValueError, KeyError, IndexError):
        return None
    return Record(seconds, peak, read * MIB)


def costs_table(rows: Mapping[str, Sequence[Iterable[Record | None]]]) -> pd.DataFrame:
    """The costs of rows.

    Args:
        rows: per row and seed, the records of its jobs; None for a job without one.

    Returns:
        Index `method`; `seconds`, `peak_mib`, `bytes_read`, `jobs` and `missing` (jobs without a record, which the
        other columns but `jobs` lack). Of several seeds, means, but the largest peak.
    """
    lines = []
    for name, seeds in rows.items():
        jobs = pd.DataFrame(
            [(seed, *(record or 3 * (None,))) for seed, records in enumerate(seeds) for record in records],
            columns=["seed", *Record._fields],
        ).astype(float)
        missing = jobs["seconds"].isna()
        per_seed = {"seconds": jobs["seconds"].sum(), "bytes_read": jobs["bytes_read"].sum()}
        per_seed |= {"jobs": len(jobs), "missing": int(missing.sum())}
        mean = {key: value / len(seeds) for key, value in per_seed.items()} if len(seeds) > 1 else per_seed
        lines.append({"method": name, "peak_mib": 0.0 if missing.all() else jobs["peak_mib"].max()} | mean)
    columns = ["method", "seconds", "peak_mib", "bytes_read", "jobs", "missing"]
    return pd.DataFrame(lines, columns=columns).fillna({"peak_mib": 0.0}).set_index("method")


def as_text(costs: pd.DataFrame) -> list[list[str]]:
    """Heading and lines for people."""
    lines = [["Method", "s", "peak MiB", "MiB read", "jobs", "without a record"]]
    for name, row in costs.iterrows():
        figures = [f"{row['seconds']:.1f}", f"{row['peak_mib']:.0f}", f"{row['bytes_read'] / MIB:.1f}"]
        lines.append([str(name), *figures, f"{row['jobs']:g}", f"{row['missing']:g}" if row["missing"] else ""])
    return lines


def stages_table(jobs: Iterable[tuple[str, Record | None]]) -> pd.DataFrame:
    """What the jobs of each stage cost, the longest first.

    Args:
        jobs: the stage and the record of each; None for a job without one.

    Returns:
        Index `stage`; `jobs`, `seconds` (of all), `median` and `longest` (seconds of one job), `peak_mib` and
        `missing` (jobs without a record, which the others but `jobs` lack).
    """
    each = pd.DataFrame(
        [(stage, *(record or 3 * (None,))) for stage, record in jobs], columns=["stage", *Record._fields]
    ).astype(dict.fromkeys(Record._fields, float))
    by_stage = each.groupby("stage")
    seconds = by_stage["seconds"]
    table = pd.DataFrame(
        {
            **{"jobs": by_stage.size(), "seconds": seconds.sum(), "median": seconds.median()},
            **{"longest": seconds.max(), "peak_mib": by_stage["peak_mib"].max()},
            "missing": seconds.apply(lambda its: int(its.isna().sum())),
        }
    )
    return table.fillna(0.0).sort_values(["seconds", "jobs"], ascending=False, kind="stable")


def stages_as_text(stages: pd.DataFrame) -> list[list[str]]:
    """Heading and lines for people."""
    lines = [["Stage", "jobs", "s, all", "s, median job", "s, longest job", "peak MiB", "without a record"]]
    for stage, row in stages.iterrows():
        figures = [f"{row[name]:.1f}" for name in ("seconds", "median", "longest")]
        missing = f"{row['missing']:.0f}" if row["missing"] else ""
        lines.append([str(stage), f"{row['jobs']:.0f}", *figures, f"{row['peak_mib']:.0f}", missing])
    return lines


def markdown(costs: pd.DataFrame) -> str:
    """The costs in Markdown."""
    lines = as_text(costs)
    return with_remarks(markdown_table(lines, "l" + "r" * (len(lines[0]) - 1)), notes=NOTES)
