"""Which jobs the rows of a table needed beyond the individual models, and what Snakemake measured of them."""

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from tatr.report.costs import costs_table, load_record, stages_table
from tatr.workflow.artefact import Artefact
from tatr.workflow.provenance import made_by, made_from

COSTED = (
    "adaptation",
    "calibration",
    "fisher",
    "gradient",
    "gram",
    "mask",
    "merge",
    "merged_gram",
    "rank_adaptation",
    "sensitivity",
    "signed_gradient",
    "surgery",
)
"""Kinds of jobs that count: a merge's own, not those of models, images, heads and evaluations."""


def costs(table: Artefact) -> pd.DataFrame:
    """The costs of a table's merges (see `tatr.report.costs.costs_table`), by the records in `results/benchmarks`.

    Raises:
        TatrError: an evaluation is not there any more, or was made again with other content.
    """
    evaluations = {made.manifest.name: made for made in made_by(table, "merges")}
    reached = made_from(evaluations.values())
    settings = table.manifest.settings
    rows = {}
    for of_row in zip(*(each["rows"] for each in settings.get("seeds", [settings])), strict=True):
        if not of_row[0]["reference"]:
            jobs = [dict.fromkeys(_jobs(row["evaluations"], reached)) for row in of_row]
            rows[of_row[0]["name"]] = [[load_record(reached[job].record) for job in of_seed] for of_seed in jobs]
    return costs_table(rows)


def stage_costs(made: Iterable[Artefact]) -> pd.DataFrame:
    """What the jobs of each stage cost that made some artefacts (see `tatr.report.costs.stages_table`)."""
    return stages_table([(artefact.manifest.kind, load_record(artefact.record)) for artefact in made])


def _jobs(names: Iterable[str], reached: Mapping[str, Artefact]) -> Iterator[str]:
    """The artefacts whose jobs count, of those that some artefacts were made from."""
    for name in names:
        if name in reached:  # what is gone is not known to have counted
            manifest = reached[name].manifest
            if manifest.kind in COSTED:
                yield name
            yield from _jobs((given for group in manifest.inputs.values() for given in group), reached)
