"""Memory that does not grow with the model or with the number of tasks."""

import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tatr import layout as layouts
from tatr.layout import Layout
from tatr.merging import direction
from tatr.methods import load, names

ROOT = Path(__file__).resolve().parent.parent
BLOCK = 2**12
TASKS, TENSORS = 8, 64
LAYOUT = Layout.of({f"visual.transformer.resblocks.{i}.mlp.c_fc.weight": (64, 128) for i in range(TENSORS)})
DATA_FREE = [name for name in names() if not {"fishers", "grams", "coefficients"} & set(load(name).needs)]


class Drawn:
    """A random vector of which only what is asked for exists."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return LAYOUT.size

    def __getitem__(self, block: slice, /) -> np.ndarray:
        size = block.stop - block.start
        return np.random.default_rng([self.seed, block.start]).standard_normal(size, np.float32)


@pytest.mark.parametrize("name", DATA_FREE)
def test_a_merge_holds_blocks_not_vectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "BLOCK", BLOCK)
    vectors = [Drawn(seed) for seed in range(TASKS)]
    list(direction(name, vectors[:2], layout=LAYOUT))  # what is imported or cached on first use is not to count
    tracemalloc.start()
    for _ in direction(name, vectors, layout=LAYOUT):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    whole = TASKS * 4 * LAYOUT.size
    assert peak < whole / 4, f"{peak / 2**20:.1f} MiB of {whole / 2**20:.1f}"


def test_learning_coefficients_takes_no_more_memory_for_more_tasks() -> None:
    command = [
        sys.executable,
        ROOT / "benchmarks/adaptation.py",
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
