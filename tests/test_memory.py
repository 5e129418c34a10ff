"""Memory that does not grow with the model or with the number of tasks."""

import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from stored import write_images
from whole import whole_direction

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.batches import batches
from tatr.data.exemplars import draw_exemplars, read_exemplars
from tatr.data.task import Task
from tatr.measuring.evaluation import evaluate
from tatr.measuring.merged_gram import measure_merged_grams
from tatr.merging.matrices.linear_maps import gram_layout
from tatr.merging.merge import MergeInputs, direction
from tatr.merging.methods import load, names
from tatr.training import scratch, surgery
from tatr.training.finetuning import finetune
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.recipes.merged_exemplars import MergedExemplars
from tatr.vectors import layout as layouts
from tatr.vectors import order_statistics
from tatr.vectors.apply import parts_of
from tatr.vectors.layout import Layout

ROOT = Path(__file__).resolve().parent.parent
BLOCK = 2**12
TASKS, TENSORS = 8, 64
LAYOUT = Layout.of({f"visual.transformer.resblocks.{i}.mlp.c_fc.weight": (64, 128) for i in range(TENSORS)})
MATRICES = gram_layout(LAYOUT)
DATA_FREE = [name for name in names() if not {*load(name).needs} - {"layout"}]


class Drawn:
    """A random vector of which only what is asked for exists."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return LAYOUT.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        size = block.stop - block.start
        return np.random.default_rng([self.seed, block.start]).standard_normal(size, np.float32)


class Identities:
    """Gram matrices of inputs that have nothing in common, of which only what is asked for exists."""

    def __len__(self) -> int:
        return MATRICES.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        size = MATRICES.parameters[0].shape[0]
        return (np.arange(block.start, block.stop) % size**2 % (size + 1) == 0).astype(np.float32)


@pytest.mark.parametrize("name", [*DATA_FREE, "lot"])
def test_a_merge_holds_blocks_not_vectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "BLOCK", BLOCK)
    monkeypatch.setattr(order_statistics, "SAMPLE", BLOCK)  # as small, against these vectors, as against a model
    vectors, grams = [Drawn(seed) for seed in range(TASKS)], [Identities()] * TASKS
    few, all_of_them = MergeInputs(vectors[:2], LAYOUT, grams=grams[:2]), MergeInputs(vectors, LAYOUT, grams=grams)
    whole_direction(name, few)  # what is cached on first use is not to count
    tracemalloc.start()
    for _ in parts_of(direction(name, all_of_them)):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    whole = TASKS * 4 * LAYOUT.size
    assert peak < whole / 4, f"{peak / 2**20:.1f} MiB of {whole / 2**20:.1f}"


def test_measuring_through_merged_blocks_takes_no_more_memory_for_more_tasks(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens and matrices of all tasks lie in files, so that one task's are in memory at a time."""
    monkeypatch.setattr(layouts, "BLOCK", BLOCK)
    images = np.random.default_rng(0).integers(0, 256, (256, 8, 8, 3), np.uint8)
    write_images(tmp_path / "images.zarr", dict.fromkeys(("train", "validation", "test"), (images, np.zeros(256))))
    exemplars = MergedExemplars(count=256, seed=0, off_diagonal=0.95)

    def peak(count: int) -> int:
        stores = {f"task{number}": tmp_path / "images.zarr" for number in range(count)}
        vectors = [np.full(encoder.layout.size, 1e-3 * number, np.float32) for number in range(count)]
        tracemalloc.start()
        _, blocks = measure_merged_grams(encoder, vectors, stores, exemplars, device="cpu", folder=tmp_path)
        for _ in blocks:
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak(1)  # what is imported or cached on first use is not to count
    tokens = 256 * 5 * 16 * 4  # of a task, in bytes
    few, many = peak(2), peak(8)
    assert many - few < 6 * tokens / 4, f"{few / 2**10:.0f}, {many / 2**10:.0f} KiB"


def test_learning_coefficients_takes_no_more_memory_for_more_tasks() -> None:
    command = [
        sys.executable,
        ROOT / "benchmarks/ada_merging.py",
        "--tasks",
        "2",
        "8",
        "--width",
        "256",
        "--layers",
        "4",
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (vector,) = re.findall(r"parameters \((\d+) MiB\)", done.stdout)
    rows = re.findall(r"^ +(\d+) +(\d+) MiB .* (\d+) MiB", done.stdout, re.MULTILINE)
    (few, ours, graph), (many, ours_of_many, graph_of_many) = [[int(word) for word in row] for row in rows]
    assert (few, many) == (2, 8)
    assert ours_of_many - ours < int(vector)
    assert graph_of_many - graph > 5 * int(vector)  # that the measurement can see it


def test_learning_ranks_takes_no_more_memory_for_more_tasks() -> None:
    sizes = ["--tasks", "2", "8", "--width", "256", "--layers", "4"]
    command = [sys.executable, str(ROOT / "benchmarks/ada_merging.py"), "--ranks", *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (vector,) = re.findall(r"parameters \((\d+) MiB\)", done.stdout)
    rows = re.findall(r"^ +(\d+) +(\d+) MiB ", done.stdout, re.MULTILINE)
    (few, of_few), (many, of_many) = [[int(word) for word in row] for row in rows]
    assert (few, many) == (2, 8)
    assert of_many - of_few < int(vector)


IMAGES = 16384
SPLIT = IMAGES * 3 * 8 * 8
"""Bytes of a split, 3 MiB; a batch of 256 images is 48 KiB."""


@pytest.fixture(scope="module")
def task(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A task each of whose splits is large, against the encoder and what steps hold at once."""
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8, 3), np.uint8)
    path = tmp_path_factory.mktemp("large") / "images.zarr"
    write_images(path, dict.fromkeys(("train", "validation", "test"), (images, np.zeros(IMAGES, np.int64))))
    return Task("task", torch.randn(2, encoder.architecture.embed_dim, generator=torch.manual_seed(0)), path)


def evaluating(encoder: Encoder, task: Task) -> None:
    evaluate(encoder, [], [task], [0.0, 0.1], "cpu")


def training(encoder: Encoder, task: Task) -> None:
    recipe = FineTuning(steps=4, batch_size=64, learning_rate=1e-3, warmup_steps=1, seed=0)
    finetune(encoder, [task, task], recipe, "cpu")


def drawing_exemplars(encoder: Encoder, task: Task) -> None:
    images, labels = task.split("train")
    chosen = draw_exemplars(len(images), 32, 0, "task")
    assert len(read_exemplars(images, chosen)) == len(labels[chosen]) == 32


def encoding_for_surgery(encoder: Encoder, task: Task) -> None:
    p = clip.to_tensors(encoder.layout.unflatten(encoder.flat))
    surgery.features_of(p, task.unlabelled("test"), encoder, "cpu", "task")


def filling_the_bank(encoder: Encoder, task: Task) -> None:
    with scratch.ImageBank(None, [task, task], "test") as bank:
        assert bank.images(1, np.arange(32)).shape == (32, 8, 8, 3)


@pytest.mark.parametrize("step", [evaluating, training, drawing_exemplars, encoding_for_surgery, filling_the_bank])
def test_a_step_holds_batches_not_splits(
    step: Callable[[Encoder, Task], None], encoder: Encoder, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Encoding all of them would take long, and what torch holds is not traced.
    monkeypatch.setattr(clip, "image_features", lambda p, x, *_, **__: x.flatten(1)[:, :12] * p["visual.proj"].sum())
    step(encoder, task)  # what is imported or cached on first use is not to count
    tracemalloc.start()
    step(encoder, task)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    labels_and_order = 4 * 8 * IMAGES
    assert peak < SPLIT / 4 + labels_and_order, f"{peak / 2**20:.1f} MiB of {SPLIT / 2**20:.1f}"


def test_of_what_is_read_ahead_there_is_one_batch(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[slice] = []
    images = task.unlabelled("test")
    monkeypatch.setattr(type(images), "__getitem__", lambda self, which: asked.append(which) or np.zeros(1))
    given = batches(images, 1000)
    for count in range(1, 18):
        next(given)
        assert len(asked) <= count + 1
    assert [which.start or 0 for which in asked[:17]] == [*range(0, IMAGES, 1000)]
