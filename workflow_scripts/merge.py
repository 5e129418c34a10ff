"""Merge task vectors into one direction v by a method: θ = θ_pre + λ·v. A trust region enters where v is used."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tatr.workflow.job import Job
from tatr.workflow.step import Step

if TYPE_CHECKING:
    from tatr.vectors.layout import Layout
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
    measured = {
        # Gram matrices lie over a layout of their own.
        role: open_vectors([artefact / "vector.zarr" for artefact in group], None if role == "grams" else digest)
        for role, group in zip(per_task, others, strict=True)
    }
    inputs = MergeInputs(
        vectors,
        layout_of(job, digest) if "layout" in needs and job.inputs["backbone"] else None,
        weights=task_weights_of(job.settings.get("weights"), tasks_of(task_vectors)),
        coefficients=learnt(job, task_vectors) if "coefficients" in needs and job.inputs["coefficients"] else None,
        **measured,
    )
    add_vector(job, size, digest, parts_of(direction(method, inputs, settings)))


def layout_of(job: Job, digest: str) -> "Layout":
    from tatr.errors import TatrError
    from tatr.vectors.layout import Layout

    layout = Layout.load(job.one("backbone") / "layout.json")
    if layout.digest != digest:
        raise TatrError("--backbone: is not the encoder that the task vectors were made for")
    return layout


def learnt(job: Job, task_vectors: Sequence["Artefact"]) -> list[list[float]]:
    from tatr.errors import TatrError

    content = json.loads((job.one("coefficients") / "coefficients.json").read_text(encoding="utf-8"))
    tasks = tasks_of(task_vectors)
    if content["tasks"] != tasks:
        raise TatrError(f"--coefficients: learnt for {', '.join(content['tasks'])}, not for {tasks}")
    coefficients: list[list[float]] = content["coefficients"]
    return coefficients


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
        "coefficients": "adaptation",
    },
    content="vector.zarr",
    example="python workflow_scripts/merge.py --task-vectors results/task_vector/*/manifest.json "
    '--settings \'{"method": "task_arithmetic"}\' --output results/merge/task_arithmetic/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
