"""Changes to the code, to files, and to how the workflow is run."""

import os
from collections.abc import Callable

import edits
from case import Case, Scene
from checkout import BACKBONE
from jobs import (
    EVALUATIONS,
    EVERYTHING,
    IMAGES,
    NOTHING,
    PRETRAINED,
    REPORT,
    TABLE,
    TASKS,
    WEIGHT_AVERAGE,
    evaluated,
    fine_tuned,
    gradients,
    seen_anew,
    task_vectors,
)


def _code(*modules: str) -> Callable[[Scene], object]:
    return lambda scene: [edits.change_code(scene.module(module)) for module in modules]


CODE = [
    Case(
        "method-edited",
        "edit a merging method (`methods/weight_average.py`)",
        "its merges and their evaluations",
        WEIGHT_AVERAGE,
        files=_code("tatr/merging/methods/weight_average.py"),
    ),
    Case(
        "method-written",
        "write a new merging method, before a merge uses it",
        "nothing",
        NOTHING,
        files=lambda scene: edits.new_method(scene.module("tatr/merging/methods")),
    ),
    Case(
        "drawing-edited",
        "edit how a task of the embedded benchmark is drawn (`tiny8/cars.py`)",
        "the task's images, and all that used them",
        {"images:cars"} | seen_anew("cars"),
        files=_code("tatr/data/tiny8/cars.py"),
    ),
    Case(
        "finetuning-edited",
        "edit the fine-tuning (`finetuning.py`)",
        "all fine-tuning and what follows; gradients stay",
        fine_tuned(*TASKS),
        files=_code("tatr/training/finetuning.py"),
    ),
    Case(
        "encoder-edited",
        "edit the encoder's forward pass (`towers.py`)",
        "everything but images and backbone",
        EVERYTHING - IMAGES - {"backbone:tiny-clip"},
        files=_code("tatr/clip/towers.py"),
    ),
    Case(
        "store-edited",
        "edit how vectors are stored (`store.py`)",
        "every vector and what reads one; no fine-tuning",
        task_vectors(*TASKS) | gradients(*TASKS) | PRETRAINED,
        files=_code("tatr/vectors/store.py"),
    ),
    Case(
        "evaluation-edited",
        "edit the evaluation",
        "all evaluations",
        EVALUATIONS,
        files=_code("tatr/measuring/evaluation.py"),
    ),
    Case(
        "table-edited",
        "edit how the table is made",
        "table, figure and report",
        TABLE,
        files=_code("tatr/report/tables.py"),
    ),
    Case(
        "page-edited",
        "edit what the report shows (`report/page/charts.py`)",
        "the report",
        REPORT,
        files=_code("tatr/report/page/charts.py"),
    ),
    Case(
        "template-edited",
        "edit the style of the report (`style.css`)",
        "the report",
        REPORT,
        files=lambda scene: scene.module("tatr/report/page/templates/style.css").open("a").write("p { color: teal }\n"),
    ),
    Case(
        "command-edited",
        "edit what all steps share (`step.py`, `job.py`, `artefact.py`)",
        "everything",
        EVERYTHING,
        files=_code("tatr/workflow/job.py"),
    ),
    Case(
        "plan-edited",
        "edit what only plans (`config/`, `workflow/plan/`), if the plan stays the same",
        "nothing",
        NOTHING,
        files=_code("tatr/config/models.py", "tatr/config/loading.py", "tatr/workflow/plan/merges.py"),
    ),
    Case(
        "comments-edited",
        "edit comments or docstrings anywhere",
        "nothing",
        NOTHING,
        files=lambda scene: edits.edit_comments(scene.project),
    ),
    Case(
        "reformatted",
        "reformat all modules",
        "nothing",
        NOTHING,
        files=lambda scene: edits.reformat(scene.project / "workflow_scripts"),
    ),
    Case(
        "sources-touched",
        "check out the repository again, so that every file is newer (the backbone's checkpoint too)",
        "nothing",
        NOTHING,
        files=lambda scene: edits.touch(scene.project.rglob("*")),
    ),
    Case("moved", "move the repository, or use another clone", "nothing", NOTHING, files=lambda scene: scene.project),
]

FILES = [
    Case(
        "results-touched",
        "touch every result",
        "nothing",
        NOTHING,
        files=lambda scene: edits.touch(scene.run.joinpath("results").rglob("*")),
    ),
    Case(
        "inputs-touched",
        "touch results, so that they are newer than what was made from them",
        "nothing",
        NOTHING,
        files=lambda scene: [edits.touch(p.rglob("*")) for p in scene.run.glob("results/[bfhis]*")],
    ),
    Case(
        "backbone-touched",
        "touch the backbone's checkpoint",
        "nothing",
        NOTHING,
        files=lambda scene: os.utime(scene.project / BACKBONE / "model.safetensors"),
    ),
    Case(
        "backbone-replaced",
        "replace the backbone's checkpoint by another one",
        "everything but the images",
        EVERYTHING - IMAGES,
        files=lambda scene: edits.replace_backbone(scene.project / BACKBONE),
    ),
    Case(
        "logs-deleted",
        "delete the logs and the benchmarks",
        "nothing",
        NOTHING,
        files=lambda scene: edits.delete(scene.run / "logs", scene.run / "results/benchmarks"),
    ),
    Case(
        "table-deleted",
        "delete the table's folder",
        "table, figure and report",
        TABLE,
        files=lambda scene: edits.delete(*scene.run.glob("results/tables/*")),
    ),
    Case(
        "report-deleted",
        "delete the report's folder",
        "the report",
        REPORT,
        files=lambda scene: edits.delete(*scene.run.glob("results/report/*")),
    ),
    Case(
        "intermediates-deleted",
        "delete results in between, say to save space",
        "nothing, until something needs them",
        NOTHING,
        files=lambda scene: edits.delete(*scene.run.glob("results/images/*"), *scene.run.glob("results/finetuning/*")),
    ),
    Case(
        "deleted-is-needed",
        "delete a task's images, then change λ",
        "what was deleted, as it is needed, and all that was made from it",
        {"images:cars"}
        | (seen_anew("cars") - evaluated("task_arithmetic", "0.3"))
        | evaluated("task_arithmetic", "0.4"),
        config=lambda config: config["merges"][1].update(coefficient=0.4),
        files=lambda scene: edits.delete(*scene.run.glob("results/images/cars-*")),
    ),
]

EXECUTION = [
    Case("threads", "give a step more threads", "nothing", NOTHING, arguments=("--set-threads", "finetuning=2")),
    Case(
        "resources",
        "give a step more memory or time",
        "nothing",
        NOTHING,
        arguments=("--set-resources", "finetuning:mem_mb=9000", "merge:runtime=99"),
    ),
    Case("cores", "run with another number of cores", "nothing", NOTHING, arguments=("--cores", "7")),
    Case(
        "rule-resources",
        "edit threads, resources or comments in a rule",
        "nothing",
        NOTHING,
        files=lambda scene: edits.edit_rules(scene.project / "rules"),
    ),
]
