"""Merge task vectors into one direction v by a method, inside a trust region if a mask is given: θ = θ_pre + λ·v."""

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.merging import direction
    from tatr.store import open_vectors, write_vector

    task_vectors = open_vectors(job.vectors("task_vectors"))
    if not task_vectors:
        raise TatrError("--task-vectors: give the manifests of the task vectors to merge")
    size, layout = len(task_vectors[0]), task_vectors[0].layout
    masks = open_vectors(job.vectors("mask"), layout)
    parts = direction(
        job.settings["method"], task_vectors, masks[0] if masks else None, job.settings.get("settings", {})
    )
    job.add("vector.zarr", write_vector(job.folder / "vector.zarr", size, layout, parts))


if __name__ == "__main__":
    command(
        run,
        kind="merge",
        reads={"task_vectors": "task_vector", "mask": "mask"},
        example="python workflow_scripts/merge.py --task-vectors results/task_vector/*/manifest.json "
        '--mask results/mask/tau-0.01/manifest.json --settings \'{"method": "task_arithmetic"}\' '
        "--output results/merge/tatr/manifest.json",
    )
