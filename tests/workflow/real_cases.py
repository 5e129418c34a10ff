"""Changes to what users bring: images on disk, a CLIP of their own, models that were fine-tuned elsewhere."""

import os
from pathlib import Path
from typing import Any

import yaml
from case import Case, Scene
from config_cases import setting

TASKS = ("dtd", "mnist")
TABLE = {"tables:real", "figures:real", "report:real"}
SANITY = {"sanity:real"} | TABLE
MERGE = {"sensitivity:zero_shot", "mask:zero_shot_tau-0.01", "merge:task_arithmetic"}
MERGED = "evaluation:task_arithmetic+zero_shot_tau-0.01_lambda-0.3"
REFERENCES = {"evaluation:pretrained", *(f"evaluation:individual_{task}" for task in TASKS)}
EVALUATIONS = REFERENCES | {MERGED} | SANITY
TUNED = "theirs/mnist/finetuned.safetensors"


def from_model(task: str) -> set[str]:
    """What is made from a task's individual model."""
    return {f"task_vector:{task}", f"evaluation:individual_{task}", MERGED} | MERGE | SANITY


TRAINED = {"finetuning:dtd"} | from_model("dtd")
IMPORTED = {"checkpoint:mnist"} | from_model("mnist")
EVERYTHING = {f"{kind}:{task}" for kind in ("images", "head") for task in TASKS} | {"backbone:clip"}
EVERYTHING |= TRAINED | IMPORTED | EVALUATIONS


def bring(folder: Path) -> str:
    """Write what users bring into the folder where snakemake is to run; return the configuration that names it."""
    # Not above: the page about reruns is written by a script that has no business with these.
    from native_files import NATIVE
    from small_clip import write_backbone, write_checkpoint

    tasks = {}
    for task, layout in (("dtd", NATIVE["hub"]), ("mnist", NATIVE["mnist"])):
        layout.write(folder / "data" / task, layout.classes, 6)
        tasks[task] = layout.task(Path("data") / task, per_class=6)
    write_checkpoint(folder / TUNED, write_backbone(folder / "clip"), seed=1)
    config = {
        "name": "real",
        "backbone": "clip",
        "suite": [*TASKS],
        "tasks": tasks,
        "checkpoints": {"tasks": {"mnist": {"origin": "folder", "path": TUNED}}},
        "finetuning": {"steps": 2, "warmup_steps": 1, "batch_size": 8},
        "sanity": {"expected": {"mnist": 50.0}},
        "merges": [{"method": "task_arithmetic", "trust_region": {"sensitivity": "zero_shot", "tau": 0.01}}],
    }
    return yaml.safe_dump(config, sort_keys=False)


def _touch(*paths: str) -> Any:  # noqa: ANN401
    return lambda scene: [os.utime(scene.run / path) for path in paths]


def _other_weights(scene: Scene) -> None:
    from small_clip import write_backbone

    write_backbone(scene.run / "clip", seed=1)


def _other_checkpoint(scene: Scene) -> None:
    from small_clip import write_checkpoint

    write_checkpoint(scene.run / TUNED, scene.run / "clip", seed=2)


REAL_CASES = [
    Case("real-nothing", "change nothing", "nothing", set()),
    Case(
        "times",
        "copy weights, checkpoints and images again (their times change, their bytes do not)",
        "nothing",
        set(),
        files=_touch("clip/open_clip_model.safetensors", TUNED, "data/dtd/data/test-00000-of-00001.parquet"),
    ),
    Case(
        "checkpoint",
        "put another checkpoint in a file's place",
        "its import and task vector; what sums over the suite; no fine-tuning",
        IMPORTED,
        files=_other_checkpoint,
    ),
    Case(
        "trained-instead",
        "train a model that was imported",
        "its training and task vector; what sums over the suite",
        {"finetuning:mnist"} | from_model("mnist"),
        setting("checkpoints", "tasks", "mnist", to={"origin": "train"}),
    ),
    Case(
        "backbone",
        "put other weights in the backbone's place",
        "all but the images",
        EVERYTHING - {f"images:{task}" for task in TASKS},
        files=_other_weights,
    ),
    Case(
        "limit",
        "limit a task's training images",
        "its images, and all that used them; the imported model stays",
        {"images:dtd", "finetuning:dtd"} | from_model("dtd") | {"evaluation:pretrained"},
        setting("tasks", "dtd", "limit", to=10),
    ),
    Case(
        "class-renamed",
        "change what prompts call a class of your own images",
        "the task's zero-shot head, and all that used it; its images stay",
        {"head:dtd"} | TRAINED | {"evaluation:pretrained"},
        setting("tasks", "dtd", "classnames", 0, to="striped"),
    ),
    Case(
        "skip",
        "skip unreadable images instead of stopping",
        "the task's images, and all that used them",
        {"images:mnist", "evaluation:pretrained", "evaluation:individual_mnist", MERGED} | SANITY,
        setting("tasks", "mnist", "unreadable", to="skip"),
    ),
    Case(
        "checkpointing",
        "recompute activations in training, or take parts of a batch",
        "the models that are trained; the imported ones stay",
        TRAINED,
        setting("finetuning", "checkpointing", to=True),
    ),
    Case(
        "precision",
        "evaluate in bf16",
        "all evaluations",
        EVALUATIONS,
        setting("evaluation", to={"precision": "bf16"}),
    ),
    Case(
        "tolerance",
        "change what is expected of individual models",
        "the comparison, and the table that warns",
        SANITY,
        setting("sanity", "tolerance", to=2.0),
    ),
    Case(
        "downloading-edited",
        "edit how data sets and weights are downloaded (`download.py`)",
        "nothing",
        set(),
        files=lambda scene: scene.module("tatr/data/download.py").open("a").write("\nEDITED = True\n"),
    ),
    Case(
        "importing-edited",
        "edit how checkpoints are read (`importing/`)",
        "the imports and the backbone, with all that follows",
        EVERYTHING - {f"images:{task}" for task in TASKS},
        files=lambda scene: scene.module("tatr/weights/importing/names.py").open("a").write("\nEDITED = True\n"),
    ),
]
