"""Train a module per task that corrects the features of θ_pre + λ·v, on unlabelled images (representation surgery)."""

from tatr.command import Job, command


def run(job: Job) -> None:
    from tatr.checkpoints import save_tensors
    from tatr.devices import choose
    from tatr.encoders import Encoder
    from tatr.errors import TatrError
    from tatr.resume import Saved
    from tatr.store import open_vectors
    from tatr.surgery import Recipe, features_of_both, operate, parameters_of

    job.device = choose()
    coefficient, split = job.settings["coefficient"], job.settings["images"]
    recipe = Recipe(**{name: job.settings[name] for name in Recipe.__dataclass_fields__})
    pairs = job.by_task("task_vectors", "images")
    if not pairs:
        raise TatrError("--task-vectors: give the manifests of the task vectors that were merged")
    encoder = Encoder.of(job.one("pretrained"))
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


if __name__ == "__main__":
    command(
        run,
        kind="surgery",
        reads={"pretrained": "backbone", "direction": "merge", "task_vectors": "task_vector", "images": "images"},
        example="python workflow_scripts/surgery.py --pretrained results/backbone/b/manifest.json "
        "--direction results/merge/tatr/manifest.json --task-vectors results/task_vector/*/manifest.json "
        "--images results/images/*/manifest.json --settings surgery.json "
        "--output results/surgery/tatr/manifest.json",
    )
