"""Measure the loss landscape on the plane of λ·v's components (App. B): losses.csv, and plane.json about the plane.

With `task` v is the sum of the other tasks' vectors, parted by that task's gradient, and its own losses are measured.
Without, v is the sum of all, parted by Σ_{i≠j} ∇L_j ⊙ Δ_i, and all tasks' losses are measured.
"""

from typing import TYPE_CHECKING

from tatr.workflow.job import Job
from tatr.workflow.step import Step

if TYPE_CHECKING:
    from tatr.vectors.vector import Vector


def run(job: Job) -> None:
    import pandas as pd

    from tatr.measuring.landscape import measure_landscape
    from tatr.merging.components import signs_of_products
    from tatr.training.devices import choose
    from tatr.training.recipes.landscape import Landscape
    from tatr.training.resume import Saved
    from tatr.workflow.opening import open_encoder, open_task

    job.device = choose()
    recipe = job.recipe(Landscape, "task")
    encoder = open_encoder(job.one("backbone"))
    vector, products = _moved(job, encoder.layout.digest)
    tasks = [open_task(head, images, job.device) for head, images in job.by_task("heads", "images")]
    # One device states the artefact: losses that another one measured are not gone on with.
    saved = Saved(job.saved, f"{job.key} {job.device}")
    signs = signs_of_products(products, recipe.tau)
    terrain = measure_landscape(encoder, vector, signs, tasks, recipe, job.device, saved)
    job.add_text("losses.csv", pd.DataFrame(terrain.points).to_csv(index=False))
    job.add_json("plane.json", terrain.plane | {"coefficient": recipe.coefficient, "tau": recipe.tau})


def _moved(job: Job, layout: str) -> "tuple[Vector, Vector]":
    """v, float32 [N], and the products by which it is parted, float64 [N]."""
    import numpy as np

    from tatr.errors import TatrError
    from tatr.merging.sensitivities import signed_cross_sum
    from tatr.vectors.store import open_vectors
    from tatr.vectors.vector import mapped, total

    task = job.settings["task"]
    roles = ("task_vectors", "signed_gradients") if task is None else ("task_vectors",)
    vectors, *others = zip(*job.by_task(*roles), strict=True) if job.inputs["task_vectors"] else [()]
    gradients = others[0] if others else job.inputs["signed_gradients"]
    named = [artefact.manifest.settings["task"] for artefact in gradients]
    if task is not None and (named != [task] or task in [v.manifest.settings["task"] for v in vectors]):
        raise TatrError(f"the landscape of {task}: give its signed gradient, and the task vectors of other tasks")
    opened = open_vectors([artefact / "vector.zarr" for artefact in (*vectors, *gradients)], layout)
    moves, slopes = opened[: len(vectors)], opened[len(vectors) :]
    if len(moves) + (task is not None) < 2:
        raise TatrError("--task-vectors: a landscape is about two tasks or more; give their manifests")
    summed = total(moves)
    if task is None:
        return summed, signed_cross_sum(slopes, moves)
    return summed, mapped(lambda slope, move: np.multiply(slope, move, dtype=np.float64), slopes[0], summed)


STEP = Step(
    run,
    kind="landscape",
    reads={
        "backbone": "backbone",
        "task_vectors": "task_vector",
        "signed_gradients": "signed_gradient",
        "heads": "head",
        "images": "images",
    },
    content="losses.csv",
    example="python workflow_scripts/landscape.py --backbone results/backbone/b/manifest.json "
    "--task-vectors results/task_vector/*/manifest.json --signed-gradients results/signed_gradient/*/manifest.json "
    "--heads results/head/*/manifest.json --images results/images/*/manifest.json "
    '--settings \'{"task": null, "coefficient": 0.3, "tau": 0.01, "images": 256, "steps": 15, "seed": 0}\' '
    "--output results/landscape/all/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
