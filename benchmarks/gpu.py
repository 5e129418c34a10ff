"""The steps that learn and measure, on a GPU, on random weights and images; each is also compared with the CPU.

gradients    absolute gradients of 8 tasks with 128 exemplars each, beside the paper's seconds on an RTX 3090
fine-tuning  images/s at batch 128 in fp32, tf32 and bf16, reading and crops included
adamerging   ms per iteration for 8 tasks with 16 images each, beside fusion-bench's loop if it can be imported, else
             beside that loop as its authors write it: one graph over merged parameters, through functional_call
evaluation   images/s in fp32, tf32 and bf16, reading from the compressed store included

A comparison computes a few images on the CPU and on the GPU. It fails, and so does the script (exit code 1), if the
relative error, ‖GPU − CPU‖ / ‖CPU‖ over everything, is above the tolerance that is printed.

It runs on a bare machine that has CUDA and PyTorch, from a copy of `benchmarks/` and `workflow_scripts/`. In addition
to torch and numpy it needs these packages, which the steps import:

    annotated-types crc32c ml_dtypes safetensors tqdm xxhash zarr zstandard

Where nothing can be installed, carry them along. On a machine with network and the same Python version:

    pip install --target packages annotated-types crc32c ml_dtypes safetensors tqdm xxhash zarr zstandard

and there, with the folder `packages` copied (numpy and torch stay that machine's if you delete them from the folder):

    PYTHONPATH=packages python benchmarks/gpu.py --json gpu.json

A whole run takes room for two models of ViT-L/14 and 12 GB of temporary files (`--folder`). The results are
written after each measurement, so that a run that is cut short keeps what it has.

example: python benchmarks/gpu.py --json gpu.json
         python benchmarks/gpu.py --only gradients adamerging
         python benchmarks/gpu.py --device cpu --small
"""

import argparse
import importlib
import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import zarr
from torch import Tensor, nn
from torch.func import functional_call

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.clip.encoder import Encoder, encode
from tatr.data.image_store import create_images, write_labels
from tatr.data.task import Task
from tatr.measuring.evaluation import evaluate
from tatr.measuring.gradient import summed_gradients
from tatr.training.adaptation import CoefficientLearner
from tatr.training.banks import TaskVectorBank
from tatr.training.devices import VARIABLE, choose
from tatr.training.entropy import batch, entropy
from tatr.training.finetuning import finetune
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.scratch import ImageBank

PUBLISHED = {"ViT-B-32": 176, "ViT-L-14": 283}
"""Seconds for the gradients of 8 tasks with 128 exemplars on an RTX 3090, from the paper (arXiv 2501.15065)."""
CLASSES = 10
PRECISIONS = ("fp32", "tf32", "bf16")
FEATURES = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 5e-2}
"""Tolerance for features, which are the outputs of all layers."""
UPDATES = {"fp32": 0.05, "tf32": 0.3, "bf16": 0.6}
"""Tolerance for a step of AdamW: entries whose gradient is nearly zero move by the whole rate, one way or the other."""

Results = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    models: dict[str, tuple[int, int, int, int]]
    """Width, layers, patch size and embedding of the image towers; all is measured on the first one."""
    pixels: int = 224
    tasks: int = 8
    exemplars: int = 128
    images: int = 4096
    train_batch: int = 128
    steps: int = 30
    iterations: int = 30
    adapt_batch: int = 16
    subset: int = 4
    """Images that are computed on the CPU, too."""


FULL = Scale({"ViT-B-32": (768, 12, 32, 512), "ViT-L-14": (1024, 24, 14, 768)})
SMALL = Scale(
    {"tiny": (64, 2, 16, 32)}, 32, tasks=2, exemplars=4, images=64, train_batch=8, steps=2, iterations=2, adapt_batch=4
)


def random_encoder(name: str, scale: Scale) -> Encoder:
    """A CLIP whose image tower has the shape of a ViT; its text tower is as small as can be."""
    width, layers, patch, embed = scale.models[name]
    vision = {"image_size": scale.pixels, "patch_size": patch, "width": width, "layers": layers, "head_width": 64}
    text = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    model = {"embed_dim": embed, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}
    shape, rng = Architecture.of(model, name), np.random.default_rng(0)
    layout = shape.layout()
    flat = rng.standard_normal(layout.size, np.float32) * np.float32(0.02)
    for parameter in layout.parameters:
        if parameter.name.endswith("weight") and ".ln_" in parameter.name:
            flat[parameter.offset : parameter.stop] += 1
    return Encoder(shape, layout, flat)


def write_images(path: Path, count: int, pixels: int) -> None:
    """Random images that compress about as well as photographs; the same ones in every split."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 224, (count, -(-pixels // 8), -(-pixels // 8), 3), np.uint8).repeat(8, 1).repeat(8, 2)
    images = coarse[:, :pixels, :pixels] + rng.integers(0, 32, (count, pixels, pixels, 3), np.uint8)
    labels = rng.integers(0, CLASSES, count)
    group = zarr.create_group(path)
    for split in ("train", "validation", "test"):
        create_images(group, split, images.shape)[:] = images
        write_labels(group, split, labels)


def random_task(name: str, encoder: Encoder, images: Path, device: str) -> Task:
    head = torch.randn(CLASSES, encoder.architecture.embed_dim, generator=torch.manual_seed(0))
    return Task(name, (100 * F.normalize(head, dim=-1)).to(device), images)


def absolute_gradients(encoder: Encoder, task: Task, count: int, device: str) -> dict[str, np.ndarray]:
    """The mean absolute gradients over the first training images, by parameter."""
    images, labels = task.split("train")

    def read(which: slice) -> tuple[Tensor, Tensor]:
        pixels = clip.normalise(images[which], encoder.architecture, device)
        return pixels, torch.as_tensor(labels[which], device=device)

    parameters = clip.to_tensors(encoder.layout.unflatten(encoder.flat), device)
    _, sums = next(summed_gradients(encoder.architecture, parameters, task.head, read, [count], ["absolute"]))
    means = sums.means("absolute", count, encoder.layout, task.name)
    return {parameter.name: mean for parameter, mean in zip(encoder.layout.parameters, means, strict=True)}


def test_accuracy(encoder: Encoder, task: Task, device: str, precision: str) -> float:
    """Of θ_pre."""
    return evaluate(encoder, [], [task], [0.0], device, precision=precision).scores["average"]


def timed(work: Callable[[], object], device: str) -> tuple[float, float | None]:
    """Seconds of a call, and the GiB that a GPU held at its peak."""
    synchronize(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    work()
    synchronize(device)
    seconds = time.perf_counter() - start
    return seconds, torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None


def synchronize(device: str) -> None:
    if device != "cpu":
        getattr(torch, device).synchronize()


def compared(what: str, found: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> dict[str, Any]:
    """The relative error of everything together."""
    squares = sum(float(np.square(f.astype(np.float64) - e).sum()) for f, e in zip(found, expected, strict=True))
    error = (squares / sum(float(np.square(e.astype(np.float64)).sum()) for e in expected)) ** 0.5
    return {"what": what, "error": error, "tolerance": tolerance, "ok": error <= tolerance}


def gradients(scale: Scale, folder: Path, device: str) -> Results:
    for name in scale.models:
        encoder = random_encoder(name, scale)
        task = random_task("task", encoder, folder / "images.zarr", device)
        found = absolute_gradients(encoder, task, scale.subset, device)  # also what is loaded on first use
        on_cpu = absolute_gradients(encoder, random_task("task", encoder, task.images, "cpu"), scale.subset, "cpu")
        yield compared(f"{name}: gradients, against the CPU", [*found.values()], [*on_cpu.values()], 1e-3)
        all_tasks = lambda: [absolute_gradients(encoder, task, scale.exemplars, device) for _ in range(scale.tasks)]  # noqa: B023, E731
        seconds, peak = timed(all_tasks, device)
        what = f"{name}: gradients of {scale.tasks} × {scale.exemplars} exemplars"
        yield {"what": what, "seconds": seconds, "peak_gib": peak, "published_rtx_3090_seconds": PUBLISHED.get(name)}


def fine_tuning(scale: Scale, folder: Path, device: str) -> Results:
    name = next(iter(scale.models))
    encoder = random_encoder(name, scale)
    task = random_task("task", encoder, folder / "images.zarr", device)
    pretrained = encoder.layout.unflatten(encoder.flat)

    def train(given: Task, where: str, steps: int, batch_size: int, precision: str) -> list[np.ndarray]:
        recipe = FineTuning(steps=steps, batch_size=batch_size, precision=precision, warmup_steps=0, seed=0)  # type: ignore[arg-type]
        tensors = finetune(encoder, [given], recipe, where, folder=folder)
        return [tensors[key] - tensor for key, tensor in pretrained.items()]

    on_cpu = train(random_task("task", encoder, task.images, "cpu"), "cpu", 1, scale.subset, "fp32")
    for precision in PRECISIONS:
        found = train(task, device, 1, scale.subset, precision)
        yield compared(
            f"{name}: a step of fine-tuning in {precision}, against the CPU", found, on_cpu, UPDATES[precision]
        )
        few, more = (
            timed(lambda: train(task, device, steps, scale.train_batch, precision), device)  # noqa: B023
            for steps in (2, 2 + scale.steps)
        )
        rate = scale.steps * scale.train_batch / (more[0] - few[0])  # what else is done is the same for both
        what = f"{name}: fine-tuning in {precision}, batch {scale.train_batch}"
        yield {"what": what, "images_per_second": rate, "peak_gib": more[1]}


def adamerging(scale: Scale, folder: Path, device: str) -> Results:
    name = next(iter(scale.models))
    encoder = random_encoder(name, scale)
    vectors = [
        np.random.default_rng(seed).standard_normal(encoder.layout.size, np.float32) * np.float32(1e-3)
        for seed in (2, 3)
    ]
    vectors = [vectors[index % 2] for index in range(scale.tasks)]  # what they hold changes neither memory nor time
    images = folder / "images.zarr"
    few = replace(scale, tasks=2, adapt_batch=scale.subset)
    found, expected = (entropy_gradient(encoder, vectors, images, few, folder, where) for where in (device, "cpu"))
    yield compared(f"{name}: gradient of AdaMerging's coefficients, against the CPU", [found], [expected], 1e-3)
    seconds, peak, coefficients = our_iterations(encoder, vectors, images, scale, folder, device)
    what = f"{name}: AdaMerging, {scale.tasks} tasks × {scale.adapt_batch} images"
    yield {"what": f"{what}, ours", "ms_per_iteration": 1000 * seconds, "peak_gib": peak}
    way, merged = their_model(encoder, vectors, device)
    seconds, peak, theirs = their_iterations(merged, encoder, images, scale, device)
    yield {"what": f"{what}, {way}", "ms_per_iteration": 1000 * seconds, "peak_gib": peak}
    moved = [(learnt - recipe_of(scale).initial).numpy() for learnt in (coefficients, theirs)]
    yield compared("how far our coefficients moved, against theirs", moved[:1], moved[1:], 0.05)


def recipe_of(scale: Scale) -> Adaptation:
    kind = {"granularity": "layer", "density": None, "initial": 0.3, "learning_rate": 1e-3, "split": "test", "seed": 0}
    return Adaptation(iterations=1 + scale.iterations, batch_size=scale.adapt_batch, **kind)


def learner(
    vectors: TaskVectorBank, images: ImageBank, encoder: Encoder, tasks: list[Task], scale: Scale, device: str
) -> CoefficientLearner:
    return CoefficientLearner(encoder, vectors, tasks, images, recipe_of(scale), device)


def tasks_of(encoder: Encoder, images: Path, scale: Scale, device: str) -> list[Task]:
    return [random_task(f"task{index}", encoder, images, device) for index in range(scale.tasks)]


def entropy_gradient(
    encoder: Encoder, vectors: list[np.ndarray], images: Path, scale: Scale, folder: Path, device: str
) -> np.ndarray:
    """Of the coefficients, before the first step."""
    tasks = tasks_of(encoder, images, scale, device)
    with (
        TaskVectorBank(folder, vectors[: scale.tasks], encoder.layout, device=device) as bank,
        ImageBank(folder, tasks, "test") as stored,
    ):
        learning = learner(bank, stored, encoder, tasks, scale, device)
        with closing(learning.batches()) as batches:
            learning.advance(batches)
        assert learning.raw.grad is not None
        return learning.raw.grad.numpy()


def our_iterations(
    encoder: Encoder, vectors: list[np.ndarray], images: Path, scale: Scale, folder: Path, device: str
) -> tuple[float, float | None, Tensor]:
    """Seconds of one, GiB, and the coefficients; the first one is not counted."""
    tasks = tasks_of(encoder, images, scale, device)
    with (
        TaskVectorBank(folder, vectors, encoder.layout, device=device) as bank,
        ImageBank(folder, tasks, "test") as stored,
    ):
        learning = learner(bank, stored, encoder, tasks, scale, device)
        with closing(learning.batches()) as batches:
            learning.advance(batches)
            bank.keep()
            seconds, peak = timed(lambda: [learning.advance(batches) for _ in range(scale.iterations)], device)
        return seconds / scale.iterations, peak, learning.coefficients()


class Tower(nn.Module):
    """The image encoder as a module, its parameters under its own names; dots are slashes."""

    def __init__(self, encoder: Encoder, flat: np.ndarray, device: str) -> None:
        super().__init__()
        self._architecture = encoder.architecture
        for name, tensor in clip.to_tensors(encoder.layout.unflatten(flat), device).items():
            self.register_parameter(name.replace(".", "/"), nn.Parameter(tensor))

    def forward(self, pixels: Tensor, head: Tensor) -> Tensor:
        """Class scores."""
        parameters = {name.replace("/", "."): parameter for name, parameter in self.named_parameters()}
        return clip.logits(parameters, pixels, head, self._architecture)


class PlainlyMerged(nn.Module):
    """A merged model as AdaMerging's authors and fusion-bench write it."""

    def __init__(self, weights: Tensor, pretrained: nn.Module, finetuned: list[nn.Module]) -> None:
        super().__init__()
        self.merge_weight, self._pretrained = nn.Parameter(weights), pretrained.requires_grad_(False)
        base = dict(pretrained.named_parameters())
        self._vectors = [{name: p.detach() - base[name] for name, p in m.named_parameters()} for m in finetuned]
        self._merged: dict[str, Tensor] = {}

    def merge_weights(self) -> None:
        """Merge, with a graph from the weights."""
        self._merged = dict(self._pretrained.named_parameters())
        for weights, vector in zip(self.merge_weight.clamp(0, 1), self._vectors, strict=True):
            for weight, (name, tensor) in zip(weights, vector.items(), strict=True):
                self._merged[name] = self._merged[name] + tensor * weight

    def forward(self, *given: Tensor) -> Tensor:
        """Of the module, with the merged parameters."""
        return functional_call(self._pretrained, self._merged, given)


def their_model(encoder: Encoder, vectors: list[np.ndarray], device: str) -> tuple[str, Any]:
    """Whose loop it is, and a merged model with `merge_weight` and `merge_weights`."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        way = "fusion-bench's loop"
        merged = importlib.import_module("fusion_bench.models.wrappers.layer_wise_fusion").LayerWiseMergedModel
    except ImportError:
        way, merged = "its authors' loop", PlainlyMerged
    weights = torch.full((len(vectors), len(encoder.layout.parameters)), 0.3, device=device)
    finetuned = [Tower(encoder, encoder.flat + vector, device) for vector in vectors]
    return way, merged(weights, Tower(encoder, encoder.flat, device), finetuned)


def their_iterations(
    merged: Any,  # noqa: ANN401
    encoder: Encoder,
    images: Path,
    scale: Scale,
    device: str,
) -> tuple[float, float | None, Tensor]:
    """As `our_iterations`; images come from memory."""
    tasks, recipe = tasks_of(encoder, images, scale, device), recipe_of(scale)
    pixels = tasks[0].unlabelled("test")[:]
    optimiser = torch.optim.Adam([merged.merge_weight], lr=recipe.learning_rate)
    merged.merge_weights()

    def advance(iteration: int) -> None:
        for task in tasks:
            drawn = pixels[batch(len(pixels), recipe.batch_size, iteration, recipe.seed, task.name)]
            given = clip.normalise(drawn, encoder.architecture, device)
            entropy(merged(given, task.head)).backward(retain_graph=True)
        optimiser.step()
        optimiser.zero_grad()
        merged.merge_weights()

    advance(0)
    seconds, peak = timed(lambda: [advance(iteration) for iteration in range(1, 1 + scale.iterations)], device)
    return seconds / scale.iterations, peak, merged.merge_weight.detach().clamp(0, 1).cpu()


def evaluation(scale: Scale, folder: Path, device: str) -> Results:
    name = next(iter(scale.models))
    encoder = random_encoder(name, scale)
    task = random_task("task", encoder, folder / "images.zarr", device)
    some = task.unlabelled("test")[: scale.subset]

    @torch.no_grad()
    def features(where: str, precision: str) -> np.ndarray:
        parameters = clip.to_tensors(encoder.layout.unflatten(encoder.flat), where)
        pixels = clip.normalise(some, encoder.architecture, where)
        return encode(parameters, pixels, encoder.architecture, precision).cpu().numpy()

    on_cpu = features("cpu", "fp32")
    for precision in PRECISIONS:
        found = features(device, precision)
        yield compared(f"{name}: features in {precision}, against the CPU", [found], [on_cpu], FEATURES[precision])
        test_accuracy(encoder, task, device, precision)
        seconds, peak = timed(lambda: test_accuracy(encoder, task, device, precision), device)  # noqa: B023
        what = f"{name}: evaluation in {precision}"
        yield {"what": what, "images_per_second": scale.images / seconds, "peak_gib": peak}


SECTIONS = {"gradients": gradients, "fine-tuning": fine_tuning, "adamerging": adamerging, "evaluation": evaluation}


def machine(device: str) -> dict[str, Any]:
    """What the figures are of."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    return {"device": device, "name": name, "threads": torch.get_num_threads(), "numpy": np.__version__, **versions}


def shown(row: dict[str, Any]) -> str:
    cells = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()]
    return f"{row['what']}: " + ", ".join(cells[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "mps", "cpu"], help="default: the best one there is")
    parser.add_argument("--small", action="store_true", help="a tiny model and few images: does it run?")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=[*SECTIONS], metavar="SECTION")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--folder", type=Path, help="for temporary files; default: the system's")
    given = parser.parse_args()
    if given.device:
        os.environ[VARIABLE] = given.device
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    device, scale = choose(), SMALL if given.small else FULL
    results: list[dict[str, Any]] = []
    print(machine(device), flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        write_images(Path(folder) / "images.zarr", scale.images, scale.pixels)
        for section in given.only:
            try:
                for row in SECTIONS[section](scale, Path(folder), device):
                    results.append(row)
                    print(shown(row), flush=True)
                    if given.json:
                        given.json.write_text(
                            json.dumps({**machine(device), "results": results}, indent=1) + "\n", encoding="utf-8"
                        )
            except torch.OutOfMemoryError as error:
                print(f"{section}: out of memory ({str(error).splitlines()[0]})", flush=True)
    if not all(row.get("ok", True) for row in results):
        raise SystemExit("a comparison is above its tolerance")


if __name__ == "__main__":
    main()
