"""Learn AdaMerging's coefficients on unlabelled images, inside a trust region if a mask is given (Eq. 12)."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.training.adaptation import adapt
    from tatr.training.devices import choose
    from tatr.training.recipes.adaptation import Adaptation
    from tatr.training.resume import Saved
    from tatr.vectors.store import open_vectors
    from tatr.workflow.opening import open_encoder, open_task

    job.device = choose()
    recipe = job.recipe(Adaptation)
    encoder = open_encoder(job.one("backbone"))
    groups = job.by_task("task_vectors", "heads", "images")
    if not groups:
        raise TatrError(
            "--task-vectors: give the manifests of the task vectors to merge, and of their heads and images"
        )
    task_vectors = open_vectors([vector / "vector.zarr" for vector, _, _ in groups], encoder.layout.digest)
    tasks = [open_task(head, images, job.device) for _, head, images in groups]
    masks = open_vectors(job.vectors("mask"), encoder.layout.digest)
    # Learning that began on one device does not resume on another: the artefact states one device.
    saved = Saved(job.saved, f"{job.key} {job.device}")
    mask = masks[0] if masks else None
    learnt = adapt(encoder, task_vectors, mask, tasks, recipe, job.device, job.folder, saved)
    job.add_json("coefficients.json", learnt)


STEP = Step(
    run,
    kind="adaptation",
    reads={
        "backbone": "backbone",
        "task_vectors": "task_vector",
        "mask": "mask",
        "heads": "head",
        "images": "images",
    },
    content="coefficients.json",
    example="python workflow_scripts/adaptation.py --backbone results/backbone/b/manifest.json "
    "--task-vectors results/task_vector/*/manifest.json --mask results/mask/tau-0.01/manifest.json "
    "--heads results/head/*/manifest.json --images results/images/*/manifest.json "
    "--settings settings.json --output results/adaptation/tatr/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
