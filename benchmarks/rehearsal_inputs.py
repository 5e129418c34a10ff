"""Writes what the rehearsal starts from: one random artefact per call. A part of rehearsal.py, which starts it."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.clip.architecture import Architecture
from tatr.digests import canonical_digest, file_digest
from tatr.merging.matrices.linear_maps import gram_layout
from tatr.merging.matrices.merged_grams import of_tasks
from tatr.vectors.layout import Layout
from tatr.vectors.store import write_vector
from tatr.vectors.vector import recut
from tatr.weights.safetensors_file import write_safetensors
from tatr.workflow.artefact import Manifest
from tatr.workflow.vector_saving import VECTOR, mean_over

FOLDER, WHAT = Path(sys.argv[1]), sys.argv[2:]
ARCHITECTURE = Architecture.of(json.loads((FOLDER / "config.json").read_text(encoding="utf-8")), "config.json")
LAYOUT = ARCHITECTURE.layout()
EXEMPLARS = 128
CLASSES = 100


def main() -> None:
    kind, task = WHAT[0], int((WHAT[1:] or ["task0"])[0].removeprefix("task"))
    if kind == "backbone":
        folder = make("backbone", "b")
        write_tensors(folder / "encoder.safetensors", LAYOUT, pretrained)
        write_tensors(folder / "text.safetensors", ARCHITECTURE.text_layout(), pretrained)
        LAYOUT.save(folder / "layout.json")
        (folder / "model.json").write_text((FOLDER / "config.json").read_text(encoding="utf-8"), encoding="utf-8")
        finish("backbone", folder)
        print(LAYOUT.size)
    elif kind == "task":
        folder = make("finetuning", f"task{task}")
        write_tensors(folder / "encoder.safetensors", LAYOUT, lambda i, n: pretrained(i, n) + update(task, i, n))
        finish("finetuning", folder)
        # Heavy tails, as gradients have.
        write_store("gradient", task, LAYOUT, drawn([task, 1], lambda values: values**8 * np.float32(1e-3)))
    elif kind == "head":
        folder = make("head", f"task{task}")
        weight = np.random.default_rng([task, 5]).standard_normal((CLASSES, ARCHITECTURE.embed_dim), np.float32)
        write_safetensors(folder / "head.safetensors", {"weight": ("F32", weight.shape)}, [weight])
        (folder / "classnames.json").write_text(
            json.dumps([f"class {number}" for number in range(CLASSES)]), encoding="utf-8"
        )
        finish("head", folder)
    elif kind == "fisher":
        write_store("fisher", task, LAYOUT, drawn([task, 2], lambda values: values**16))
    elif kind == "merged_gram":
        places = of_tasks(LAYOUT, WHAT[1:])
        folder = make(kind, "all")
        (folder / "tasks.json").write_text(json.dumps(WHAT[1:]), encoding="utf-8")
        parts = (gram([3, place.offset], place.shape) for place in places.parameters)
        write_vector(folder / VECTOR, places.size, places.digest, recut(parts, places.size))
        finish(kind, folder)
    elif kind in ("adaptation", "rank_adaptation"):
        write_learnt(kind, WHAT[1:])
    else:
        places = gram_layout(LAYOUT)
        parts = (gram([task, 3, place.offset], place.shape) for place in places.parameters)
        write_store("gram", task, places, recut(parts, places.size))


def write_learnt(kind: str, tasks: list[str]) -> None:
    """Coefficients of all tensors; of ranks, half of the components of each of a block's matrices."""
    blocks = [p for p in LAYOUT.parameters if len(p.shape) == 2 and "resblocks" in p.name]
    kept = {p.name: [*range(0, min(p.shape), 2)] for p in blocks}
    learnt: dict[str, Any] = {"tasks": tasks, "coefficients": [[0.3] * len(LAYOUT.parameters)] * len(tasks)}
    if kind == "rank_adaptation":
        learnt["kept"] = [kept] * len(tasks)
    folder = make(kind, "all")
    (folder / "coefficients.json").write_text(json.dumps(learnt), encoding="utf-8")
    finish(kind, folder)


def drawn(seed: list[int], shape: Callable[[np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
    """Blocks of uniform values ≥ 0, made as uneven as `shape` makes them."""
    rng = np.random.default_rng(seed)
    return (shape(rng.random(block.stop - block.start, np.float32)) for block in LAYOUT.blocks())


def gram(seed: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """The Gram matrix of inputs that share one direction; of a scale its diagonal."""
    shared = np.random.default_rng(seed).random(shape[0], np.float32)
    return shared**2 + 1 if len(shape) == 1 else np.outer(shared, shared) + np.eye(shape[0], dtype=np.float32)


def pretrained(index: int, size: int) -> np.ndarray:
    return np.random.default_rng([0, index]).standard_normal(size, np.float32) * np.float32(0.02)


def update(task: int, index: int, size: int) -> np.ndarray:
    return np.random.default_rng([task, index, 4]).standard_normal(size, np.float32) * np.float32(1e-3)


def write_tensors(path: Path, layout: Layout, values: Callable[[int, int], np.ndarray]) -> None:
    indices = {parameter.name: index for index, parameter in enumerate(layout.parameters)}
    ordered = sorted(layout.parameters, key=lambda parameter: parameter.name)
    parts = (values(indices[parameter.name], parameter.size) for parameter in ordered)
    write_safetensors(path, {parameter.name: ("F32", parameter.shape) for parameter in ordered}, parts)


def write_store(kind: str, task: int, layout: Layout, parts: Iterator[np.ndarray]) -> None:
    folder = make(kind, f"task{task}")
    name = mean_over(EXEMPLARS) if kind == "gradient" else VECTOR
    write_vector(folder / name, layout.size, layout.digest, parts)
    finish(kind, folder, [name])


def make(kind: str, name: str) -> Path:
    folder = FOLDER / kind / name
    folder.mkdir(parents=True)
    return folder


def finish(kind: str, folder: Path, names: Iterable[str] = ()) -> None:
    # Of stores any digests that differ will do, as they are never verified; files are compared when they are opened.
    paths = [folder / name for name in names] or [*folder.iterdir()]
    digests = [file_digest(at) if at.is_file() else canonical_digest([kind, folder.name, at.name]) for at in paths]
    content = {str(path.relative_to(folder)): digest for path, digest in zip(paths, digests, strict=True)}
    settings = {} if kind == "backbone" else {"task": folder.name, "templates": ["a photo of a {}."]}
    Manifest(kind, folder.name, settings, {}, "", "cpu", content).save(folder)


if __name__ == "__main__":
    main()
