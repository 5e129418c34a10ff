"""Learning AdaMerging's coefficients: peak memory and time as the number of tasks K grows, ours against the usual ways.

All start from the same random task vectors in stores on disk and do the same layer-wise iterations.
ours:      weights merged once per iteration, one task's graph at a time, task vectors in an unnamed file.
one graph: task vectors in memory; merged by autograd once per iteration, all tasks' entropies back-propagated at once.
published: task vectors in memory; merged by autograd for every task, all of it back-propagated at once (slow; only
           with --published).

Memory is the process's peak resident set, above what it was after the same way with one task and a tiny encoder. What
is freed goes back to the system at once (MALLOC_MMAP_THRESHOLD_), so that holes in the heap do not count: with glibc's
default settings the usual ways take up more. Seconds are those of the whole, reading included, by iteration.

AdaRank:   with --ranks, that instead: singular vectors of the task vectors in an unnamed file. Its seconds are an
           iteration's and as large a part of the decompositions.

example: python benchmarks/ada_merging.py --tasks 2 4 8 16
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import zarr
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.clip.encoder import Encoder
from tatr.data.image_store import create_images, write_labels
from tatr.data.task import Task
from tatr.progress import progress
from tatr.training.adaptation import adapt
from tatr.training.entropy import batch, entropy
from tatr.training.rank_adaptation import adapt_ranks
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.recipes.rank_adaptation import RankAdaptation
from tatr.vectors.layout import blocks
from tatr.vectors.store import StoredVector, open_vectors, write_vector

WAYS, RANKS = ("ours", "one graph", "published"), "AdaRank"
STORED = 2  # distinct task vectors on disk, taken in turn: what they hold changes neither memory nor time
IMAGES, BATCH, ITERATIONS = 64, 16, 2


def architecture(width: int, layers: int) -> Architecture:
    """A CLIP whose image tower takes 64 × 64 pixels in patches of 16."""
    vision = {"image_size": 64, "patch_size": 16, "width": width, "layers": layers, "head_width": 64}
    text = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    return Architecture.of({"embed_dim": width, "vision_cfg": vision, "text_cfg": text}, "benchmark")


def write_inputs(folder: Path, size: int) -> None:
    """Random task vectors and images."""
    rng = np.random.default_rng(0)
    for index in range(STORED):
        parts = (0.002 * rng.standard_normal(b.stop - b.start, np.float32) for b in blocks(size))
        write_vector(folder / f"delta{index}", size, "benchmark", parts)
    images = rng.integers(0, 256, (IMAGES, 64, 64, 3), np.uint8), np.zeros(IMAGES, np.int64)
    empty = images[0][:0], images[1][:0]
    group = zarr.create_group(folder / "images.zarr")
    for split, (pixels, labels) in {"train": empty, "validation": empty, "test": images}.items():
        create_images(group, split, pixels.shape)[:] = pixels
        write_labels(group, split, labels)


def autograd(
    encoder: Encoder, vectors: list[StoredVector], tasks: list[Task], recipe: Adaptation, *, once: bool
) -> list[list[float]]:
    """λ by torch's own graph: from all task vectors in memory to the sum of all entropies."""
    unflatten = encoder.layout.unflatten
    pretrained = clip.to_tensors(unflatten(encoder.flat))
    deltas = [{n: torch.as_tensor(t) for n, t in unflatten(vector[0 : len(vector)]).items()} for vector in vectors]
    raw = torch.full((len(tasks), len(pretrained)), recipe.initial, requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=recipe.learning_rate)

    def merged() -> dict[str, Tensor]:
        weights = raw.clamp(0, 1)
        return {
            name: tensor + sum(weights[k, i] * delta[name] for k, delta in enumerate(deltas))
            for i, (name, tensor) in enumerate(pretrained.items())
        }

    for iteration in progress(range(recipe.iterations), "autograd"):
        theta, loss = merged() if once else {}, torch.zeros(())
        for task in tasks:
            images = task.unlabelled("test")[batch(IMAGES, recipe.batch_size, iteration, recipe.seed, task.name)]
            pixels = clip.normalise(images, encoder.architecture)
            loss = loss + entropy(clip.logits(theta if once else merged(), pixels, task.head, encoder.architecture))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return raw.detach().clamp(0, 1).tolist()


def learn(way: str, folder: Path, count: int, shape: Architecture, recipe: Adaptation) -> list[list[float]]:
    """Coefficients of K tasks on a random encoder."""
    layout = shape.layout()
    rng = np.random.default_rng(1)
    flat = np.empty(layout.size, np.float32)
    for block in layout.blocks():
        flat[block] = 0.02 * rng.standard_normal(block.stop - block.start, np.float32)
    encoder = Encoder(shape, layout, flat)
    head = 10 * F.normalize(torch.randn(10, shape.embed_dim, generator=torch.manual_seed(0)), dim=-1)
    tasks = [Task(f"task{index}", head, folder / "images.zarr") for index in range(count)]
    vectors = open_vectors([folder / f"delta{index % STORED}" for index in range(count)])
    if way == RANKS:
        ranks = RankAdaptation(
            base="pretrained",
            initial=recipe.initial,
            rank_share=0.5,
            iterations=recipe.iterations,
            batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            split=recipe.split,
            seed=recipe.seed,
        )
        return adapt_ranks(encoder, vectors, None, tasks, ranks, "cpu", folder)["coefficients"]
    if way == "ours":
        return adapt(encoder, vectors, None, tasks, recipe, "cpu", folder)["coefficients"]
    return autograd(encoder, vectors, tasks, recipe, once=way == "one graph")


def measure(way: str, folder: Path, count: int, shape: Architecture) -> None:
    """In a process of its own: print MiB at the peak, MiB before, seconds per iteration, and the coefficients' sum."""
    recipe = Adaptation(
        granularity="layer",
        density=None,
        initial=0.3,
        iterations=ITERATIONS,
        batch_size=BATCH,
        learning_rate=1e-3,
        split="test",
        seed=0,
    )
    with tempfile.TemporaryDirectory(dir=folder) as small:  # what torch and Zarr load on first use is not to count
        least = architecture(64, 1)
        write_inputs(Path(small), least.layout().size)
        learn(way, Path(small), 1, least, recipe)
    before = peak()
    start = time.perf_counter()
    found = learn(way, folder, count, shape, recipe)
    print(peak(), before, (time.perf_counter() - start) / ITERATIONS, np.sum(found))


def peak() -> float:
    """Largest resident set so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 4, 8, 16], help="values of K")
    parser.add_argument("--width", type=int, default=512, help="of the image encoder")
    parser.add_argument("--layers", type=int, default=8, help="of the image encoder")
    parser.add_argument("--published", action="store_true", help="measure that way, too")
    parser.add_argument("--ranks", action="store_true", help="measure AdaRank instead")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    shape = architecture(given.width, given.layers)
    if given.measure:
        measure(given.measure[0], Path(given.measure[1]), given.tasks[0], shape)
        return
    ways = (RANKS,) if given.ranks else WAYS if given.published else WAYS[:2]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}
    size = shape.layout().size
    print(f"{size:,} parameters ({4 * size / 2**20:.0f} MiB), {BATCH} images per task, MiB and seconds per iteration")
    print(f"{'K':>3}" + "".join(f"{way:>22}" for way in ways) + "   usual / ours (memory)")
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), size)
        for count in given.tasks:
            rows = []
            for way in ways:
                own = ["--measure", way, folder, "--width", given.width, "--layers", given.layers, "--tasks", count]
                line = [sys.executable, __file__, *map(str, own)]
                done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, env=environment)
                rows.append([float(word) for word in done.stdout.split()])
            if np.ptp([row[3] for row in rows]) > 1e-3:
                raise SystemExit(f"K = {count}: the ways differ in the coefficients that they learn: {rows}")
            memory = [row[0] - row[1] for row in rows]
            cells = [f"{mib:9.0f} MiB {row[2]:6.2f} s" for mib, row in zip(memory, rows, strict=True)]
            ratios = ", ".join(f"{mib / memory[0]:.1f} ×" for mib in memory[1:])
            print(f"{count:>3}" + "".join(f"{cell:>22}" for cell in cells) + f"   {ratios}", flush=True)


if __name__ == "__main__":
    main()
