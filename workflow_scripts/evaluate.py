"""Evaluate θ_pre + λ·v on every task: λ chosen on validation if there are several, accuracy measured on test."""

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr.devices import choose
    from tatr.encoders import Encoder, Task
    from tatr.evaluation import evaluate
    from tatr.store import open_vectors

    job.device = choose()
    encoder = Encoder.of(job.one("pretrained"))
    directions = open_vectors(job.vectors("direction"), encoder.layout.digest)
    direction = directions[0][0 : encoder.layout.size] if directions else None
    tasks = [Task.of(head, images, job.device) for head, images in job.by_task("heads", "images")]
    job.add_json("scores.json", evaluate(encoder, direction, tasks, job.settings["coefficients"], job.device))


if __name__ == "__main__":
    command(
        run,
        kind="evaluate",
        reads={"pretrained": "backbone", "direction": ("merge", "task_vector"), "heads": "head", "images": "images"},
        example="python workflow_scripts/evaluate.py --pretrained results/backbone/b/manifest.json "
        "--direction results/merge/tatr/manifest.json --heads results/head/*/manifest.json "
        "--images results/images/*/manifest.json --settings '{\"coefficients\": [0.3]}' "
        "--output results/evaluate/tatr/manifest.json",
    )
