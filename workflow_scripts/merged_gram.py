"""Measure Gram matrices of inputs that come through the merged encoder, of all tasks together; no label is read."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.measuring.merged_gram import measure_merged_grams
    from tatr.merging.task_weights import task_weights_of
    from tatr.training.devices import choose
    from tatr.training.recipes.merged_exemplars import MergedExemplars
    from tatr.vectors.store import open_vectors
    from tatr.workflow.opening import open_encoder
    from tatr.workflow.vector_saving import add_vector

    job.device = choose()
    exemplars = job.recipe(MergedExemplars, "weights")
    encoder = open_encoder(job.one("backbone"))
    groups = job.by_task("task_vectors", "images")
    if not groups:
        raise TatrError("--task-vectors: give the manifests of the task vectors to merge, and of their images")
    task_vectors = open_vectors([vector / "vector.zarr" for vector, _ in groups], encoder.layout.digest)
    tasks = [str(vector.manifest.settings.get("task")) for vector, _ in groups]
    images = [stored / "images.zarr" for _, stored in groups]
    named = dict(zip(tasks, images, strict=True))
    weights = task_weights_of(job.settings.get("weights"), tasks)
    layout, matrices = measure_merged_grams(
        encoder, task_vectors, named, exemplars, weights, device=job.device, folder=job.folder
    )
    job.add_json("tasks.json", tasks)
    add_vector(job, layout.size, layout.digest, matrices)


STEP = Step(
    run,
    kind="merged_gram",
    reads={"backbone": "backbone", "task_vectors": "task_vector", "images": "images"},
    content="vector.zarr",
    example="python workflow_scripts/merged_gram.py --backbone results/backbone/b/manifest.json "
    "--task-vectors results/task_vector/*/manifest.json --images results/images/*/manifest.json "
    '--settings \'{"count": 256, "seed": 0, "off_diagonal": 0.95}\' --output results/merged_gram/all/manifest.json',
)

if __name__ == "__main__":
    STEP.main()
