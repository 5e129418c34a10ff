"""Merge task vectors into one direction v by a method: θ = θ_pre + λ·v. A trust region enters where v is used."""

import importlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tatr.workflow.job import Job
from tatr.workflow.step import Step

if TYPE_CHECKING:
    from tatr.vectors.layout import Layout
    from tatr.vectors.vector import Vector
    from tatr.workflow.artefact import Artefact


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.merging.merge import MergeInputs, direction
    from tatr.merging.methods import load
    from tatr.merging.task_weights import task_weights_of
    from tatr.vectors.apply import parts_of
    from tatr.vectors.store import open_vectors
    from tatr.workflow.vector_saving import add_vector

    if not job.inputs["task_vectors"]:
        raise TatrError("--task-vectors: give the manifests of the task vectors to merge")
    method, settings = job.settings["method"], job.settings.get("settings", {})
    needs = load(method).needs
    # Missing inputs are left out; a method that needs them refuses.
    per_task = [role for role in ("fishers", "grams") if role in needs and job.inputs[role]]
    task_vectors, *others = zip(*job.by_task("task_vectors", *per_task), strict=True)
    vectors = open_vectors([artefact / "vector.zarr" for artefact in task_vectors])
    size, digest = len(vectors[0]), vectors[0].layout
    measured: dict[str, Any] = {
        # Gram matrices lie over a layout of their own.
        role: open_vectors([artefact / "vector.zarr" for artefact in group], None if role == "grams" else digest)
        for role, group in zip(per_task, others, strict=True)
    }
    layout = layout_of(job, digest) if "layout" in needs and job.inputs["backbone"] else None
    if layout and "merged_grams" in needs and job.inputs["merged_grams"]:
        measured["merged_grams"] = merged_grams_of(job, method, layout, tasks_of(task_vectors))
    if "coefficients" in needs and job.inputs["coefficients"]:
        measured |= learnt(job, tasks_of(task_vectors))
    weights = task_weights_of(job.settings.get("weights"), tasks_of(task_vectors))
    inputs = MergeInputs(vectors, layout, weights=weights, **measured)
    add_vector(job, size, digest, parts_of(direction(method, inputs, settings)))


def layout_of(job: Job, digest: str) -> "Layout":
    from tatr.errors import TatrError
    from tatr.vectors.layout import Layout

    layout = Layout.load(job.one("backbone") / "layout.json")
    if layout.digest != digest:
        raise TatrError("--backbone: is not the encoder that the task vectors were made for")
    return layout


def merged_grams_of(job: Job, method: str, layout: "Layout", tasks: list[str]) -> list["Vector"]:
    """Per task; all of them lie in one store, as they are measured together. How, the method knows: others don't care
    when that is edited.
    """
    from tatr.errors import TatrError
    from tatr.vectors.store import open_vectors

    artefact = job.one("merged_grams")
    measured = json.loads((artefact / "tasks.json").read_text(encoding="utf-8"))
    if measured != tasks:
        raise TatrError(f"--merged-grams: measured for {', '.join(measured)}, not for {', '.join(tasks)}")
    (values,) = open_vectors([artefact / "vector.zarr"])
    grams: list[Vector] = importlib.import_module(f"tatr.merging.methods.{method}").by_task(layout, tasks, values)
    return grams


def learnt(job: Job, tasks: list[str]) -> dict[str, Any]:
    """Coefficients, and the singular components that are to stay if these were learnt, too."""
    from tatr.errors import TatrError

    content = json.loads((job.one("coefficients") / "coefficients.json").read_text(encoding="utf-8"))
    if content["tasks"] != tasks:
        raise TatrError(f"--coefficients: learnt for {', '.join(content['tasks'])}, not for {', '.join(tasks)}")
    return {name: content[name] for name in ("coefficients", "kept") if name in content}


def tasks_of(task_vectors: Sequence["Artefact"]) -> list[str]:
    return [str(vector.manifest.settings.get("task")) for vector in task_vectors]


STEP = Step(
    run,
    kind="merge",
    reads={
        "task_vectors": "task_vector",
        "backbone": "backbone",
        "fishers": "fisher",
        "grams": "gram",
        "merged_grams": "merged_gram",
        "coefficients": ("adaptation", "rank_adaptation"),
    },
    content="vector.zarr",
    example="python workflow_scripts/merge.py --task-vectors results/task_vector/*/manifest.json "
    '--settings \'{"method": "task_arithmetic"}\' --output results/merge/task_arithmetic/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
