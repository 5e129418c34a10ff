"""Fine-tuning and evaluation of a CLIP of some ViT's shape in fp32 and bf16, whole and in parts: seconds and memory.

One random encoder; a step is forward, backward, clipping and AdamW on random images. Peak memory is the allocator's on
cuda; elsewhere it is what autograd keeps for the backward pass of one part (`kept`), which is what grows with the part:
parameters, gradients and AdamW's averages come on top, 16 bytes per parameter.

With --estimate nothing is timed: what autograd keeps per image is measured at batch 1 (exact, as it is linear in the
batch) and scaled to the whole step of a batch, for each way.

example: python benchmarks/precision.py --model ViT-B-32 --batch 128
         python benchmarks/precision.py --model ViT-L-14 --estimate
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow_scripts"))

from tatr.clip import towers as clip
from tatr.clip.architecture import Architecture
from tatr.clip.encoder import encode
from tatr.training.devices import choose

SHAPES = {  # width, layers, patch size, embedding
    "ViT-B-32": (768, 12, 32, 512),
    "ViT-B-16": (768, 12, 16, 512),
    "ViT-L-14": (1024, 24, 14, 768),
}
GIB = 2**30


@dataclass(frozen=True)
class Way:
    """How a batch is computed."""

    precision: str
    micro_batch: int
    checkpointing: bool


def architecture(name: str, size: int) -> Architecture:
    """A CLIP whose image tower has the shape of a ViT; its text tower is as small as can be."""
    width, layers, patch, embed = SHAPES[name]
    vision = {"image_size": size, "patch_size": patch, "width": width, "layers": layers, "head_width": 64}
    text = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    return Architecture.of({"embed_dim": embed, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text}, name)


def kept(parameters: dict[str, Tensor], pixels: Tensor, shape: Architecture, way: Way) -> int:
    """Bytes that autograd keeps for the backward pass of these images, parameters not counted."""
    own, sizes = {tensor.untyped_storage().data_ptr() for tensor in parameters.values()}, dict[int, int]()
    shapes = [tuple(tensor.shape) for tensor in parameters.values()]
    copies = {*shapes, *(shape[::-1] for shape in shapes)}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        rounded = tensor.dtype == torch.bfloat16 and tuple(tensor.shape) in copies  # autocast's copies of parameters
        if storage.data_ptr() not in own and not rounded:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = encode(parameters, pixels, shape, way.precision, checkpointing=way.checkpointing)
    assert features.dtype == torch.float32
    return sum(sizes.values())


def step(
    parameters: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    pixels: Tensor,
    head: Tensor,
    way: Way,
    shape: Architecture,
) -> None:
    """What `tatr.training.finetuning` does with a batch."""
    optimiser.zero_grad()
    labels = torch.zeros(len(pixels), dtype=torch.int64, device=pixels.device)
    for some, theirs in zip(pixels.split(way.micro_batch), labels.split(way.micro_batch), strict=True):
        features = encode(parameters, some, shape, way.precision, checkpointing=way.checkpointing)
        (F.cross_entropy(clip.scores(features, head), theirs) * (len(some) / len(pixels))).backward()
    torch.nn.utils.clip_grad_norm_(parameters.values(), 1.0)
    optimiser.step()


def seconds(work: object, repeats: int, device: str) -> float:
    """Mean time of a call, after one that is not counted."""
    assert callable(work)
    work()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="ViT-B-32")
    parser.add_argument("--batch", type=int, default=None, help="images per step (default: 128 on cuda, else 8)")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--estimate", action="store_true", help="memory of a step of 128 images, nothing is timed")
    given = parser.parse_args()
    device, shape = "cpu" if given.estimate else choose(), architecture(given.model, given.size)
    batch = given.batch or (128 if device == "cuda" or given.estimate else 8)
    rng = torch.Generator().manual_seed(0)
    parameters = {
        p.name: (0.02 * torch.randn(p.shape, generator=rng)).to(device).requires_grad_()
        for p in shape.layout().parameters
    }
    count = sum(p.numel() for p in parameters.values())
    print(
        f"{given.model}, {given.size} pixels, {count:,} parameters, batch {batch}, {device}, torch {torch.__version__}"
    )
    parts = [part for part in (batch, batch // 2, batch // 4, batch // 8) if part]
    ways = [Way(p, part, c) for p in ("fp32", "bf16") for c in (False, True) for part in parts]
    if given.estimate:
        estimate(parameters, shape, ways, count, given.size)
    else:
        measure(parameters, shape, ways, batch, given.size, given.repeats, device)


def estimate(parameters: dict[str, Tensor], shape: Architecture, ways: list[Way], count: int, size: int) -> None:
    """Print GiB of a step of each way."""
    constant = 16 * count / GIB
    print(f"parameters, gradients, AdamW: {constant:.1f} GiB; in addition, per way, what autograd keeps:")
    image, found = torch.zeros(1, 3, size, size), dict[tuple[str, bool], int]()
    for way in ways:
        key = way.precision, way.checkpointing
        if key not in found:
            found[key] = kept(parameters, image, shape, way)
            if way.checkpointing:  # one block is recomputed at a time
                found[key] += found[way.precision, False] // shape.vision.layers
        per_image = found[key]
        total = way.micro_batch * per_image / GIB
        print(row(way), f"{per_image / 2**20:8.0f} MiB per image {total:7.1f} GiB {total + constant:7.1f} GiB in all")


def measure(
    parameters: dict[str, Tensor],
    shape: Architecture,
    ways: list[Way],
    batch: int,
    size: int,
    repeats: int,
    device: str,
) -> None:
    """Print seconds and memory of each way."""
    pixels = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1)).to(device)
    head = F.normalize(torch.randn(100, shape.embed_dim, generator=torch.Generator().manual_seed(2)), dim=-1).to(device)
    optimiser = torch.optim.AdamW(parameters.values(), lr=1e-6)
    for way in ways:
        taken = seconds(lambda: step(parameters, optimiser, pixels, head, way, shape), repeats, device)  # noqa: B023
        if device == "cuda":
            memory = torch.cuda.max_memory_allocated() / GIB
        else:
            memory = kept(parameters, pixels[: way.micro_batch], shape, way) / GIB
        print(row(way), f"{taken:8.3f} s per step {batch / taken:8.1f} images/s {memory:7.2f} GiB", flush=True)
    optimiser.zero_grad()
    for precision in ("fp32", "bf16"):
        with torch.no_grad():
            taken = seconds(lambda: encode(parameters, pixels, shape, precision), repeats, device)  # noqa: B023
        print(f"evaluation, {precision}: {batch / taken:.1f} images/s")


def row(way: Way) -> str:
    checkpointing = "checkpointing" if way.checkpointing else ""
    return f"{way.precision} micro_batch {way.micro_batch:>4} {checkpointing:13}"


if __name__ == "__main__":
    main()
