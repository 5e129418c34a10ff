"""Methods on matrices against their formulas in float64, side by side in one run: seconds, memory, differences.

Of each model one of its blocks of layers is merged, at full size, of random task vectors in stores on disk; seconds of
all are those times the number of blocks. Ours is the library's method. Direct is `tests/float64_formulas.py`: full
decompositions and products in float64, everything in memory. Each runs in a process of its own, with as many threads
(BLAS's, for direct). Peak memory is the process's, imports included. Where other processes run, CPU seconds with
`--threads 1` tell more than seconds.

example: python benchmarks/matrices.py --models ViT-B-32 --methods iso_c tsv_m
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.merging.matrices.linear_maps import gram_layout
from tatr.merging.merge import MergeInputs, direction
from tatr.vectors.apply import parts_of
from tatr.vectors.heap import keep_freed_blocks
from tatr.vectors.layout import Layout
from tatr.vectors.store import open_vectors, write_vector
from tatr.vectors.vector import recut, whole

MODELS = {"ViT-B-32": (768, 12), "ViT-L-14": (1024, 24)}
"""Width, and blocks of layers."""

METHODS = ("iso_c", "tsv_m", "regmean", "pcb")


def layout_of(model: str) -> Layout:
    """One block's weights."""
    width, _ = MODELS[model]
    shapes = {"attn.in_proj_weight": (3 * width, width), "attn.out_proj.weight": (width, width)}
    shapes |= {"mlp.c_fc.weight": (4 * width, width), "mlp.c_proj.weight": (width, 4 * width)}
    return Layout.of({f"visual.transformer.resblocks.0.{name}": shape for name, shape in shapes.items()})


def write_inputs(folder: Path, layout: Layout, tasks: int) -> None:
    """Task vectors that share a part, and Gram matrices of inputs that share a direction."""
    places = gram_layout(layout)
    for task in range(tasks):
        parts = (update(task, block) for block in layout.blocks())
        write_vector(folder / f"delta{task}", layout.size, layout.digest, parts)
        grams = (gram([task, place.offset], place.shape[0]) for place in places.parameters)
        write_vector(folder / f"gram{task}", places.size, places.digest, recut(grams, places.size))


def update(task: int, block: slice) -> np.ndarray:
    shared, own = (np.random.default_rng([seed, block.start]) for seed in (99, task))
    size = block.stop - block.start
    values: np.ndarray = own.standard_normal(size, np.float32) + np.float32(0.5) * shared.standard_normal(
        size, np.float32
    )
    return values * np.float32(1e-3)


def gram(seed: list[int], size: int) -> np.ndarray:
    shared = np.random.default_rng(seed).random(size, np.float32)
    return np.outer(shared, shared) + np.eye(size, dtype=np.float32)


def run(way: str, method: str, model: str, folder: Path) -> None:
    """In a process of its own: merge into a store, print seconds, CPU seconds and MiB."""
    keep_freed_blocks()  # as commands do
    layout = layout_of(model)
    deltas = open_vectors(sorted(folder.glob("delta*")))
    grams = open_vectors(sorted(folder.glob("gram*"))) if method == "regmean" else None
    start, busy = time.perf_counter(), time.process_time()
    if way == "ours":
        parts = parts_of(direction(method, MergeInputs(deltas, layout=layout, grams=grams)))
    else:
        vectors, matrices = ([whole(vector) for vector in given or []] for given in (deltas, grams))
        entire = (part.reshape(-1) for part in direct(method, layout, vectors, matrices))
        parts = recut(entire, layout.size)
    write_vector(folder / f"{method}-{way}", layout.size, layout.digest, parts)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps([seconds, busy, peak]))


def direct(method: str, layout: Layout, vectors: list[np.ndarray], grams: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The merged matrices, or all of v at once."""
    from float64_formulas import balanced, isotropic, orthogonalised, regression

    if method == "pcb":
        yield balanced(vectors, 0.05, 0.01)
        return
    tasks, moments = [layout.unflatten(v) for v in vectors], [gram_layout(layout).unflatten(g) for g in grams]
    for parameter in layout.parameters:
        name, rank = parameter.name, min(parameter.shape) // len(vectors)
        if method == "iso_c":
            yield isotropic([task[name] for task in tasks])
        elif method == "tsv_m":
            yield orthogonalised([task[name] for task in tasks], rank)
        else:
            yield regression([its[name] for its in moments], [task[name].T for task in tasks], 0.9).T


def measured(way: str, method: str, model: str, folder: Path, threads: int) -> list[float]:
    """What `run` prints."""
    line = [sys.executable, __file__, "--one", way, method, model, str(folder)]
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    done = subprocess.run(line, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: list[float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, method, model, folder = arguments.one
        run(way, method, model, Path(folder))
        return
    heads = ["direct, one block [s]", "ours [s]", "ratio", "direct, CPU [s]", "ours, CPU [s]", "ratio"]
    heads += ["direct, all [s]", "ours, all [s]", "direct [MiB]", "ours [MiB]", "difference"]
    print(f"| model | method | {' | '.join(heads)} |\n|---|---|{'---:|' * len(heads)}")
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(Path(folder), layout_of(model), arguments.tasks)
            for method in arguments.methods:
                print(row(model, method, Path(folder), arguments.threads), flush=True)


def row(model: str, method: str, folder: Path, threads: int) -> str:
    """The table's."""
    (slow, long, large), (fast, short, small) = (
        measured(w, method, model, folder, threads) for w in ("direct", "ours")
    )
    expected, found = map(whole, open_vectors([folder / f"{method}-{way}" for way in ("direct", "ours")]))
    difference, blocks = np.linalg.norm(found - expected) / np.linalg.norm(expected), MODELS[model][1]
    times = f"{slow:.2f} | {fast:.2f} | {slow / fast:.1f} | {long:.2f} | {short:.2f} | {long / short:.1f}"
    totals = f"{blocks * slow:.0f} | {blocks * fast:.0f} | {large:.0f} | {small:.0f}"
    return f"| {model} | {method} | {times} | {totals} | {difference:.1e} |"


if __name__ == "__main__":
    main()
