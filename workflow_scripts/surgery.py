"""Train a module per task that corrects the features of θ_pre + λ·v, on unlabelled images (representation surgery)."""

from tatr.workflow.job import Job
from tatr.workflow.step import Step


def run(job: Job) -> None:
    from tatr.clip.encoder import Encoder
    from tatr.errors import TatrError
    from tatr.training.devices import choose
    from tatr.training.resume import Saved
    from tatr.training.surgery import Recipe, features_of_both, operate, parameters_of
    from tatr.vectors.store import open_vectors
    from tatr.weights.encoder_file import save_tensors

    job.device = choose()
    coefficient, split = job.settings["coefficient"], job.settings["images"]
    recipe = Recipe(**{name: job.settings[name] for name in Recipe.__dataclass_fields__})
    pairs = job.by_task("task_vectors", "images")
    if not pairs:
        raise TatrError("--task-vectors: give the manifests of the task vectors that were merged")
    encoder = Encoder.of(job.one("backbone"))
    recipe.check(encoder.architecture.embed_dim)
    paths = [artefact / "vector.zarr" for artefact in (job.one("direction"), *(pair[0] for pair in pairs))]
    direction, *vectors = open_vectors(paths, encoder.layout.digest)
    merged = parameters_of(encoder, direction, coefficient, job.device)
    saved = Saved(job.saved, f"{job.key} {job.device}")
    state = saved.read()
    for (_, images), vector in zip(pairs, vectors, strict=True):
        task = str(images.manifest.settings["task"])
        if f"{task}.distances" not in state:
            both = features_of_both(task, merged, vector, encoder, images / "images.zarr", split, job.device)
            state |= operate(task, *both, recipe)
            saved.write(lambda: state)  # noqa: B023
    distances = {name: state[name].tolist() for name in sorted(state) if name.endswith(".distances")}
    modules = {name: state[name].numpy() for name in sorted(state.keys() - distances.keys())}
    save_tensors(modules, job.folder / "surgery.safetensors")
    job.add_file("surgery.safetensors")
    curve = {name.removesuffix(".distances"): {"before": a, "after": b} for name, (a, b) in distances.items()}
    job.add_json("surgery.json", {"l1_distance": curve})


STEP = Step(
    run,
    kind="surgery",
    reads={"backbone": "backbone", "direction": "merge", "task_vectors": "task_vector", "images": "images"},
    content="surgery.safetensors",
    example="python workflow_scripts/surgery.py --backbone results/backbone/b/manifest.json "
    "--direction results/merge/tatr/manifest.json --task-vectors results/task_vector/*/manifest.json "
    "--images results/images/*/manifest.json --settings surgery.json "
    "--output results/surgery/tatr/manifest.json",
)

if __name__ == "__main__":
    STEP.main()
