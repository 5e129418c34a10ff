"""Merge task vectors into one direction v by a method, inside a trust region if a mask is given: θ = θ_pre + λ·v."""

import json
from collections.abc import Sequence
from typing import Any

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.merging.merge import direction
    from tatr.merging.methods import load
    from tatr.vectors.store import open_vectors, write_vector

    if not job.inputs["task_vectors"]:
        raise TatrError("--task-vectors: give the manifests of the task vectors to merge")
    method, settings = job.settings["method"], job.settings.get("settings", {})
    per_task = [role for role in ("fishers", "grams") if role in load(method).needs and job.inputs[role]]
    task_vectors, *others = zip(*job.by_task("task_vectors", *per_task), strict=True)
    vectors = open_vectors([artefact / "vector.zarr" for artefact in task_vectors])
    size, layout = len(vectors[0]), vectors[0].layout
    masks = open_vectors(job.vectors("mask"), layout)
    given = needed_by(job, load(method).needs, layout, dict(zip(per_task, others, strict=True)))
    parts = direction(method, vectors, masks[0] if masks else None, settings, **given)
    job.add("vector.zarr", write_vector(job.folder / "vector.zarr", size, layout, parts))


def needed_by(job: Job, needs: Sequence[str], digest: str, per_task: dict[str, Any]) -> dict[str, Any]:
    """What a method reads beside the task vectors; whatever was not given is left out, which the method refuses."""
    from tatr.errors import TatrError
    from tatr.vectors.layout import Layout
    from tatr.vectors.store import open_vectors

    given: dict[str, Any] = {}
    if "layout" in needs and job.inputs["backbone"]:
        given["layout"] = Layout.load(job.one("backbone") / "layout.json")
        if given["layout"].digest != digest:
            raise TatrError("--backbone: is not the encoder that the task vectors were made for")
    if "fishers" in per_task:
        given["fishers"] = open_vectors([fisher / "vector.zarr" for fisher in per_task["fishers"]], digest)
    if "grams" in per_task:
        given["grams"] = open_vectors([gram / "vector.zarr" for gram in per_task["grams"]])
    if "coefficients" in needs and job.inputs["coefficients"]:
        learnt = json.loads((job.one("coefficients") / "coefficients.json").read_text())
        tasks = [vector.manifest.settings.get("task") for (vector,) in job.by_task("task_vectors")]
        if learnt["tasks"] != tasks:
            raise TatrError(f"--coefficients: learnt for {', '.join(learnt['tasks'])}, not for {tasks}")
        given["coefficients"] = learnt["coefficients"]
    return given


STEP = Step(
    run,
    kind="merge",
    reads={
        "task_vectors": "task_vector",
        "mask": "mask",
        "backbone": "backbone",
        "fishers": "fisher",
        "grams": "gram",
        "coefficients": "adaptation",
    },
    content="vector.zarr",
    example="python workflow_scripts/merge.py --task-vectors results/task_vector/*/manifest.json "
    '--mask results/mask/tau-0.01/manifest.json --settings \'{"method": "task_arithmetic"}\' '
    "--output results/merge/tatr/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
