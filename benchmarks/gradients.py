"""Mean absolute per-exemplar gradients of a random CLIP of some ViT's shape: ours against the usual ways.

plain: forward and backward of a batch's mean loss. Another quantity (exemplars cancel), but the price to compare with.
ours:  `tatr.measuring.gradient`, one forward and one backward pass per micro-batch.
all:   the same through all tokens of the last block, as models of other libraries compute them.
loop:  a forward and a backward pass per exemplar, absolute values added up.
vmap:  torch.func's vmap(grad), absolute values added up.

The ways take turns, a few rounds long; of each the fastest round counts, and of plain the fastest size of a batch.
Then the peak resident set of ours for different numbers of exemplars, each time in a process of its own, above that
for a single exemplar: it stays the same from one full micro-batch on.

example: OMP_NUM_THREADS=2 python benchmarks/gradients.py
         OMP_NUM_THREADS=2 python benchmarks/gradients.py --model ViT-L-14 --exemplars 6 --batches 2 4 --counts 4 16
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from precision import SHAPES, architecture

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.measuring.exemplar_gradients import GradientSums
from tatr.measuring.gradient import add_gradients, classification_loss, summed_gradients
from tatr.training.devices import choose

Tensors = dict[str, Tensor]

CLASSES, PIXELS = 100, 224


class AllTokens(clip.Watch):
    """Has the last block computed for all tokens."""

    all_tokens = True


class Problem:
    """A random encoder, a random head, and any number of random exemplars, drawn when they are read."""

    def __init__(self, model: str, device: str) -> None:
        """Draw parameters and head."""
        self.shape: Architecture = architecture(model, PIXELS)
        self.device, rng = device, torch.Generator().manual_seed(0)
        places = self.shape.layout().parameters
        self.parameters = {p.name: (0.02 * torch.randn(p.shape, generator=rng)).to(device) for p in places}
        self.head = F.normalize(torch.randn(CLASSES, self.shape.embed_dim, generator=rng), dim=-1).to(device)

    def read(self, which: slice) -> tuple[Tensor, Tensor]:
        """Pixels and labels of some exemplars."""
        drawn = [torch.Generator().manual_seed(index) for index in range(which.start, which.stop)]
        pixels = torch.stack([torch.randn(3, PIXELS, PIXELS, generator=rng) for rng in drawn])
        labels = torch.tensor([index % CLASSES for index in range(which.start, which.stop)])
        return pixels.to(self.device), labels.to(self.device)

    def gradients(self, which: slice, watch: clip.Watch = clip.UNWATCHED) -> Tensors:
        """Gradients of the mean loss of some exemplars, by a plain backward pass."""
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in self.parameters.items()}
        pixels, labels = self.read(which)
        features = clip.image_features(leaves, pixels, self.shape, watch)
        F.cross_entropy(clip.scores(features, self.head), labels).backward()
        return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}

    def ours(self, count: int) -> Tensors:
        """Σ |∇L|, as the pipeline measures it."""
        passes = summed_gradients(self.shape, self.parameters, self.head, self.read, [count], ["absolute"])
        return next(passes)[1].of["absolute"]

    def loop(self, count: int) -> Tensors:
        """Σ |∇L| by a backward pass per exemplar."""
        sums = {name: torch.zeros_like(tensor) for name, tensor in self.parameters.items()}
        for index in range(count):
            for name, gradient in self.gradients(slice(index, index + 1)).items():
                sums[name] += gradient.abs_()
        return sums

    def vmap(self, count: int) -> Tensors:
        """Σ |∇L| by vmap."""
        sums = GradientSums(self.parameters, ["absolute"])
        loss = classification_loss(self.shape, self.head)
        add_gradients(sums, loss, self.parameters, *self.read(slice(0, count)))
        return sums.of["absolute"]


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_all(given: argparse.Namespace, device: str) -> None:
    """Print seconds per exemplar of each way, and how they compare with plain."""
    problem = Problem(given.model, device)
    few = max(1, given.exemplars // 4)  # of the slow ways
    plain = {f"plain, batch {batch}": (batch, partial(problem.gradients, slice(0, batch))) for batch in given.batches}
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        **plain,
        **{
            f"all, batch {batch}": (batch, partial(problem.gradients, slice(0, batch), AllTokens()))
            for batch in given.batches
        },
        "ours": (given.exemplars, partial(problem.ours, given.exemplars)),
        "loop": (few, partial(problem.loop, few)),
        "vmap": (few, partial(problem.vmap, few)),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(given.rounds):
        for way, (count, work) in ways.items():
            seconds[way].append(timed(work, device) / count)
    best = {way: min(taken) for way, taken in seconds.items()}
    price = min(best[way] for way in plain)
    for way, taken in best.items():
        print(f"{way:16} {1000 * taken:8.1f} ms per exemplar {taken / price:6.2f} × plain")


def compare(model: str, device: str, count: int) -> None:
    """Print how far ours lies from the loop of single passes."""
    problem = Problem(model, device)
    ours, loop = problem.ours(count), problem.loop(count)
    worst = max(float((ours[name] - of).norm() / of.norm()) for name, of in loop.items())
    print(f"{count} exemplars: ours differs from the loop by {worst:.1e} of a parameter's norm at most", flush=True)


def measure_memory(model: str, count: int) -> None:
    """In a process of its own: print MiB at the peak above parameters and sums."""
    problem = Problem(model, "cpu")
    problem.ours(1)
    before = peak()
    problem.ours(count)
    print(peak() - before)


def peak() -> float:
    """Largest resident set so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="ViT-B-32")
    parser.add_argument("--exemplars", type=int, default=40, help="that ours takes in a round")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32], help="of plain")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="*", default=[20, 40, 80], help="exemplars, for memory")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory:
        measure_memory(given.model, given.memory)
        return
    device = choose()
    print(f"{given.model}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    compare(given.model, device, 3)
    time_all(given, device)
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}  # what is freed goes back to the system
    for count in given.counts:
        line = [sys.executable, __file__, "--model", given.model, "--memory", str(count)]
        done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        print(f"{count:4} exemplars: peak memory {float(done.stdout):6.0f} MiB above that of one", flush=True)


if __name__ == "__main__":
    main()
