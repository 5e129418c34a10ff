"""From artefacts to what the report shows."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from tatr.measuring.predictions import FILE, load_predictions
from tatr.report import analyses, plots
from tatr.report.costs import NOTES, as_text, stages_as_text
from tatr.report.page import charts, details
from tatr.report.page.main_table import shown
from tatr.report.page.rendering import Content, Picture, TextTable
from tatr.report.page.summary import best_training_free, sentences
from tatr.report.paper import comparison
from tatr.report.published import comparison as published
from tatr.report.table_text import explanations, marked_tasks, notes, skipped_notes
from tatr.report.tables import load_table
from tatr.workflow.artefact import Artefact
from tatr.workflow.costs import costs, stage_costs
from tatr.workflow.job import Job
from tatr.workflow.provenance import made_from

Settings = Mapping[str, Any]


def content(job: Job) -> Content:
    """All that the page shows."""
    artefact, figures = job.one("table"), job.one("figures")
    settings = artefact.manifest.settings
    table = load_table(artefact / "methods.csv")
    remarks = json.loads((artefact / "remarks.json").read_text(encoding="utf-8"))
    paper, paper_notes, averages = _paper(artefact, remarks["skipped"])
    published_table, published_notes = _published(artefact)
    names = _names(settings)
    made = [*made_from([artefact, figures, *job.inputs["heads"]]).values()]
    merge_costs = costs(artefact)
    by_stage = stage_costs(made)
    classes, chart = _details(job, settings, best_training_free(table) or str(table.index[-1]))
    return Content(
        title=f"Merged models: {job.settings['name']}",
        summary=sentences(table, settings, job.settings["backbone"], remarks["warnings"]),
        warnings=remarks["warnings"],
        table=shown(table, settings, remarks["skipped"]),
        table_notes=[
            "★ and bold: the best merge of a column, ☆ and italics: the second best, whatever the intervals; of "
            "differences, bold where the interval excludes zero.",
            *explanations(table),
            *notes(table),
            *skipped_notes(settings["names"], remarks["skipped"]),
        ],
        charts={
            "methods": charts.methods_chart(table, names, averages),
            "tasks": charts.heat_map(table, names, settings["digits"]),
            "details": chart,
        },
        pictures=_pictures(figures),
        paper=paper,
        paper_notes=paper_notes,
        published=published_table,
        published_notes=published_notes,
        classes_shown=details.SHOWN,
        stages=_text_table(stages_as_text(by_stage)),
        costs=_text_table(as_text(merge_costs)),
        costs_notes=NOTES,
        configuration=_written(job.settings["config"]),
        made=_stages_made(made),
        artefacts=_artefacts(made),
        downloads=_downloads(artefact, figures) | {"classes.csv": classes.to_csv(index=False)},
        measured_downloads={"costs.csv": merge_costs.to_csv(), "stages.csv": by_stage.to_csv()},
    )


def _names(settings: Settings) -> dict[str, str]:
    return {task: settings["names"].get(task, task) for task in (*settings["tasks"], *settings.get("unseen", ()))}


def _written(config: Settings) -> str:
    """A configuration as YAML, its name first."""
    ordered = dict(sorted(config.items(), key=lambda item: (item[0] != "name", item[0])))
    return yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def _details(job: Job, settings: Settings, opened: str) -> tuple[pd.DataFrame, charts.Specification]:
    """The table of all rows' classes, and the chart of one row."""
    evaluations = [*job.inputs["references"], *job.inputs["merges"]]
    rows = details.pooled(settings, {each.manifest.name: load_predictions(each / FILE) for each in evaluations})
    classnames = {
        str(head.manifest.settings["task"]): json.loads((head / "classnames.json").read_text(encoding="utf-8"))
        for head in job.inputs["heads"]
    }
    classes = details.per_class(rows, classnames)
    drawn = details.hardest(classes)
    confused = details.confusions(rows, drawn)
    return classes, charts.details_chart(drawn, confused, _names(settings), classnames, opened)


def _pictures(figures: Artefact) -> list[Picture]:
    asked_for: Mapping[str, Settings] = figures.manifest.settings["analyses"]
    return [
        Picture(
            name,
            analyses.load(name).title,
            plots.load(name).caption(pd.read_csv(figures / f"{name}.csv"), settings),
            (figures / f"{name}.svg").read_bytes(),
        )
        for name, settings in asked_for.items()
    ]


def _paper(table: Artefact, skipped: Mapping[str, int]) -> tuple[TextTable | None, list[str], dict[str, float]]:
    """The paper's rows beside ours, footnotes, and its averages by our row's name."""
    settings = table.manifest.settings
    if "paper.csv" not in table.manifest.content:
        return None, [], {}
    compared = pd.read_csv(table / "paper.csv", dtype={"notes": str}).fillna({"notes": ""})
    names = marked_tasks([*settings["tasks"], *settings.get("unseen", ())], settings["names"], skipped)
    (heading, *lines), footnotes = comparison.as_text(compared, names, settings["digits"], settings["paper"])
    return TextTable(heading, lines, comparison.WORDS), footnotes, comparison.averages(table / "paper.csv")


def _published(table: Artefact) -> tuple[TextTable | None, list[str]]:
    """Published averages beside ours, and notes."""
    if "published.csv" not in table.manifest.content:
        return None, []
    compared = pd.read_csv(table / "published.csv", dtype={"settings": str}).fillna({"settings": ""})
    heading, *lines = published.as_text(compared, table.manifest.settings["digits"])
    notes: list[str] = json.loads((table / "published.json").read_text(encoding="utf-8"))["notes"]
    return TextTable(heading, lines, published.WORDS), notes


def _stages_made(made: Sequence[Artefact]) -> TextTable:
    """Per kind of artefact, on which devices and with which versions it was made."""
    lines = []
    for kind in sorted({artefact.manifest.kind for artefact in made}):
        manifests = [artefact.manifest for artefact in made if artefact.manifest.kind == kind]
        versions = sorted({f"{name} {version}" for each in manifests for name, version in each.versions.items()})
        devices = sorted({each.device for each in manifests})
        lines.append([kind, ", ".join(devices), ", ".join(versions), str(len(manifests))])
    return TextTable(["Stage", "device", "versions", "artefacts"], lines, 3)


def _artefacts(made: Sequence[Artefact]) -> TextTable:
    manifests = sorted((artefact.manifest for artefact in made), key=lambda one: (one.kind, one.name))
    lines = [[each.kind, each.name, each.digest, each.code] for each in manifests]
    return TextTable(["Kind", "name", "digest of the content", "digest of the code"], lines, 4)


def _downloads(table: Artefact, figures: Artefact) -> dict[str, str]:
    """All tables of the run, as CSV."""
    files = [artefact / name for artefact in (table, figures) for name in artefact.manifest.content]
    return {path.name: path.read_text(encoding="utf-8") for path in files if path.suffix == ".csv"}


def _text_table(lines: Sequence[Sequence[str]]) -> TextTable:
    heading, *rest = lines
    return TextTable(heading, rest)
