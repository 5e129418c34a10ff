"""Ω and its thresholds against the direct way, side by side in one run: seconds and peak memory, with ratios.

Both start from the same task vectors and gradients in stores on disk and end with Ω and the thresholds of six τ.
Ours: block by block, Ω in the prefix form (2K products) into a store, thresholds from two histograms.
Direct: everything in memory, Ω as the double sum over i ≠ j (K(K−1) products), thresholds by sorting Ω.

example: python benchmarks/arithmetic.py --size 20000000 --tasks 8
"""

import argparse
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.merging.mask import thresholds
from tatr.merging.sensitivities import load
from tatr.vectors.layout import blocks
from tatr.vectors.order_statistics import Histogram
from tatr.vectors.store import StoredVector, open_vectors, write_vector
from tatr.vectors.vector import read

TAUS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


def write_inputs(folder: Path, size: int, tasks: int) -> None:
    """Task vectors and gradients with heavy tails, as real ones have."""
    rng = np.random.default_rng(0)
    for kind in ("delta", "gradient"):
        for task in range(tasks):
            values = rng.standard_normal(size, np.float32) * rng.random(size, np.float32) ** 4
            values = np.abs(values) if kind == "gradient" else values
            write_vector(folder / f"{kind}{task}", size, "benchmark", (values[block] for block in blocks(size)))


def ours(folder: Path) -> list[float]:
    """As the pipeline does it."""
    deltas = open_vectors(sorted(folder.glob("delta*")))
    histogram = Histogram()
    omega = load("gradient").of(task_vectors=deltas, gradients=open_vectors(sorted(folder.glob("gradient*"))))
    parts = histogram.watch(read(omega))
    write_vector(folder / "omega", len(deltas[0]), "benchmark", parts)
    return thresholds(StoredVector(folder / "omega"), TAUS, histogram)


def direct(folder: Path) -> list[float]:
    """As the formulas read."""
    deltas, gradients = ([v[0 : len(v)] for v in open_vectors(sorted(folder.glob(f"{k}*")))] for k in ("d", "g"))
    omega = np.zeros_like(deltas[0])
    for i, delta in enumerate(deltas):
        for j, gradient in enumerate(gradients):
            if i != j:
                omega += gradient * np.abs(delta)
    ranked = np.sort(omega)
    return [float(ranked[len(ranked) - int(tau * len(ranked))]) for tau in TAUS]


def measure(function: Callable[[Path], list[float]], folder: Path) -> tuple[float, float, list[float]]:
    """Seconds, peak MiB of arrays, and the thresholds."""
    tracemalloc.start()  # NumPy reports its arrays; so few are made that watching them costs no time
    start = time.perf_counter()
    found = function(folder)
    return time.perf_counter() - start, tracemalloc.get_traced_memory()[1] / 2**20, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=20_000_000, help="parameters")
    parser.add_argument("--tasks", type=int, default=8)
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder), arguments.size, arguments.tasks)
        for function in (ours, direct):
            with get_context("spawn").Pool(1) as pool:
                results[function.__name__] = pool.apply(measure, (function, Path(folder)))
    for name, (seconds, memory, _) in results.items():
        print(f"{name:>7}: {seconds:7.2f} s, {memory:6.0f} MiB at the peak")
    (t1, m1, found), (t2, m2, expected) = results["ours"], results["direct"]
    difference = max(abs(a - b) / b for a, b in zip(found, expected, strict=True))
    print(f"direct / ours: {t2 / t1:.2f} × the time, {m2 / m1:.1f} × the memory")
    print(f"thresholds differ by at most {difference:.1e} of their value (the double sum rounds more often)")


if __name__ == "__main__":
    main()
