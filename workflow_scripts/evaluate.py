"""Evaluate θ_pre + λ·v on every task: λ and τ chosen on validation if there are several, accuracy measured on test.

Several directions are the merges of several τ, in the order of the setting `taus`.
"""

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr.devices import choose
    from tatr.encoders import Encoder, Task
    from tatr.evaluation import evaluate
    from tatr.feature_correction import load_modules
    from tatr.store import open_vectors

    job.device = choose()
    encoder = Encoder.of(job.one("pretrained"))
    directions = open_vectors(job.vectors("directions"), encoder.layout.digest)
    tasks = [Task.of(head, images, job.device) for head, images in job.by_task("heads", "images")]
    modules = load_modules(job.one("surgery"), job.device) if job.inputs["surgery"] else None
    taus, precision = job.settings.get("taus", ()), job.settings.get("precision", "fp32")
    coefficients = job.settings["coefficients"]
    scores = evaluate(encoder, directions, tasks, coefficients, job.device, taus, modules, precision)
    job.add_json("scores.json", scores)


if __name__ == "__main__":
    command(
        run,
        kind="evaluate",
        reads={
            "pretrained": "backbone",
            "directions": ("merge", "task_vector"),
            "surgery": "surgery",
            "heads": "head",
            "images": "images",
        },
        example="python workflow_scripts/evaluate.py --pretrained results/backbone/b/manifest.json "
        "--directions results/merge/tatr/manifest.json --heads results/head/*/manifest.json "
        "--images results/images/*/manifest.json --settings '{\"coefficients\": [0.3]}' "
        "--output results/evaluate/tatr/manifest.json",
    )
