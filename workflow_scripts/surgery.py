"""Train a module per task that corrects the features of θ_pre + λ·v, on unlabelled images (representation surgery)."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.errors import TatrError
    from tatr.training.devices import choose
    from tatr.training.recipes.surgery import Surgery
    from tatr.training.resume import Saved
    from tatr.training.surgery import train_modules
    from tatr.vectors.store import open_vectors
    from tatr.weights.encoder_file import save_tensors
    from tatr.workflow.directions import open_directions, with_factors
    from tatr.workflow.opening import open_encoder

    job.device = choose()
    recipe = job.recipe(Surgery, "coefficient")
    pairs = job.by_task("task_vectors", "images")
    if not pairs:
        raise TatrError("--task-vectors: give the manifests of the task vectors that were merged")
    encoder = open_encoder(job.one("backbone"))
    layout = encoder.layout.digest
    directions = open_directions([job.one("direction") / "vector.zarr"], job.vectors("mask"), layout)
    (direction,), (factor,) = with_factors(directions, [job.settings["coefficient"]], encoder.layout)
    vectors = open_vectors([vector / "vector.zarr" for vector, _ in pairs], layout)
    tasks = [
        (str(images.manifest.settings["task"]), vector, images / "images.zarr")
        for (_, images), vector in zip(pairs, vectors, strict=True)
    ]
    # A training that began on one device does not resume on another: the artefact states one device.
    saved = Saved(job.saved, f"{job.key} {job.device}")
    modules, distances = train_modules(encoder, direction, factor, tasks, recipe, job.device, saved)
    save_tensors(modules, job.folder / "surgery.safetensors")
    job.add_file("surgery.safetensors")
    job.add_json("surgery.json", {"l1_distance": distances})


STEP = Step(
    run,
    kind="surgery",
    reads={
        "backbone": "backbone",
        "direction": ("merge", "calibration"),
        "mask": "mask",
        "task_vectors": "task_vector",
        "images": "images",
    },
    content="surgery.safetensors",
    example="python workflow_scripts/surgery.py --backbone results/backbone/b/manifest.json "
    "--direction results/merge/ties/manifest.json --mask results/mask/tau-0.01/manifest.json "
    "--task-vectors results/task_vector/*/manifest.json "
    "--images results/images/*/manifest.json --settings surgery.json "
    "--output results/surgery/tatr/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
