"""Evaluate θ_pre + λ·v on every task: λ and τ chosen on validation if there are several, accuracy measured on test.

The setting `unseen` names tasks that are not merged: no choice looks at their validation images. What the model
answered for each test image is kept beside the scores.

Masks restrict v to trust regions. Several are those of several τ, in the order of the setting `taus`. They belong to
one direction, or to one each where a method learns inside the region. λ may be one per tensor, by patterns of names.
"""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.clip.correction import load_modules
    from tatr.measuring.evaluation import evaluate
    from tatr.measuring.predictions import FILE, save_predictions
    from tatr.training.devices import choose
    from tatr.workflow.directions import open_directions, with_factors
    from tatr.workflow.opening import open_encoder, open_task

    job.device = choose()
    encoder = open_encoder(job.one("backbone"))
    directions = open_directions(job.vectors("directions"), job.vectors("masks"), encoder.layout.digest)
    directions, factors = with_factors(directions, job.settings["coefficients"], encoder.layout)
    tasks = [open_task(head, images, job.device) for head, images in job.by_task("heads", "images")]
    modules = load_modules(job.one("surgery") / "surgery.safetensors", job.device) if job.inputs["surgery"] else None
    taus, precision = job.settings.get("taus", ()), job.settings.get("precision", "fp32")
    unseen = job.settings.get("unseen", ())
    scores, predictions = evaluate(encoder, directions, tasks, factors, job.device, taus, modules, precision, unseen)
    job.add_json("scores.json", scores)
    job.add(FILE, save_predictions(predictions, job.folder / FILE))


STEP = Step(
    run,
    kind="evaluation",
    reads={
        "backbone": "backbone",
        "directions": ("merge", "calibration", "task_vector"),
        "masks": "mask",
        "surgery": "surgery",
        "heads": "head",
        "images": "images",
    },
    content="scores.json",
    example="python workflow_scripts/evaluation.py --backbone results/backbone/b/manifest.json "
    "--directions results/merge/ties/manifest.json --masks results/mask/tau-0.01/manifest.json "
    "--heads results/head/*/manifest.json --images results/images/*/manifest.json "
    "--settings '{\"coefficients\": [0.3]}' --output results/evaluation/tatr/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
