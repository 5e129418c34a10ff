"""From artefacts to what analyses look at."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tatr.errors import TatrError
from tatr.measuring.predictions import FILE, load_predictions
from tatr.report.analyses import Labelled, LossPlane, Results
from tatr.vectors.layout import Layout
from tatr.vectors.store import StoredVector, open_vectors
from tatr.workflow.artefact import Artefact
from tatr.workflow.job import Job
from tatr.workflow.vector_saving import VECTOR, mean_over


def open_needs(job: Job, needs: Sequence[str]) -> dict[str, Any]:
    """What an analysis looks at, by the name of its argument.

    Raises:
        TatrError: something that it needs was not given.
    """
    for need in needs:
        if not job.inputs[need]:
            raise TatrError(
                f"--{need.replace('_', '-')}: the analysis '{job.settings['analysis']}' needs it; give manifests"
            )
    return {need: OPENED[need](job, need) for need in needs}


def _layout(job: Job, need: str) -> Layout:
    return Layout.load(job.one(need) / "layout.json")


def _by_task(job: Job, need: str) -> dict[str, StoredVector]:
    store = mean_over(job.settings["exemplars"]) if need == "gradients" else VECTOR
    tasks, artefacts = zip(*((_task(artefact), artefact) for (artefact,) in job.by_task(need)), strict=True)
    return dict(zip(tasks, open_vectors([artefact / store for artefact in artefacts]), strict=True))


def _task(artefact: Artefact) -> str:
    return str(artefact.manifest.settings["task"])


def _vectors(job: Job, need: str) -> list[Labelled[StoredVector]]:
    return [*map(Labelled, _labels(job, need), open_vectors(job.vectors(need)))]


def _results(job: Job, need: str) -> list[Labelled[Results]]:
    contents = [
        Results(json.loads((artefact / "scores.json").read_text(encoding="utf-8")), load_predictions(artefact / FILE))
        for artefact in job.inputs[need]
    ]
    return [*map(Labelled, _labels(job, need), contents)]


def _of_merged_tasks(job: Job, need: str) -> list[Labelled[Results]]:
    """Rows of the table and their like, on the tasks that are merged: averages and differences are about these."""
    found = []
    for row, artefact in zip(_results(job, need), job.inputs[need], strict=True):
        unseen = artefact.manifest.settings.get("unseen", ())
        merged = {task: its for task, its in row.content.predictions.items() if task not in unseen}
        found.append(Labelled(row.labels, Results(row.content.scores, merged)))
    return found


def _landscapes(job: Job, need: str) -> list[Labelled[LossPlane]]:
    contents = [
        LossPlane(_points(artefact / "losses.csv"), json.loads((artefact / "plane.json").read_text(encoding="utf-8")))
        for artefact in job.inputs[need]
    ]
    return [*map(Labelled, _labels(job, need), contents)]


def _points(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: value if key == "task" else float(value) for key, value in line.items()}
            for line in csv.DictReader(file)
        ]


def _labels(job: Job, need: str) -> list[Mapping[str, Any]]:
    labels: list[Mapping[str, Any]] = job.settings["labels"].get(need, [])
    if len(labels) != len(job.inputs[need]):
        raise TatrError(f"--settings: labels.{need}: {len(labels)} for {len(job.inputs[need])} artefacts; one each")
    return labels


OPENED: Mapping[str, Callable[[Job, str], Any]] = {
    "layout": _layout,
    "task_vectors": _by_task,
    "gradients": _by_task,
    "signed_gradients": _by_task,
    "masks": _vectors,
    "regions": _vectors,
    "rows": _of_merged_tasks,
    "without_one": _results,
    "splits": _results,
    "components": _of_merged_tasks,
    "landscapes": _landscapes,
}
"""By the name of the argument."""
