"""Zero-shot TATR of safetensors folders as one would write it by hand: NumPy, two threads, three passes, no checks.

All files hold one floating-point type, float32 or bfloat16, and the same tensors in the same order.

example: python benchmarks/plain/zero_shot_tatr.py OUTPUT TAU COEFFICIENT BASE MODEL MODEL ...
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

PIECE = 2**17
output, tau, coefficient = Path(sys.argv[1]), float(sys.argv[2]), np.float32(sys.argv[3])
shards = sorted(path.name for path in Path(sys.argv[4]).glob("*.safetensors"))
models = [[os.open(Path(folder) / name, os.O_RDONLY) for name in shards] for folder in sys.argv[4:]]
starts = [[8 + int.from_bytes(os.pread(file, 8, 0), "little") for file in model] for model in models]
header = os.pread(models[0][0], starts[0][0] - 8, 8)
half = next(entry for name, entry in json.loads(header).items() if name != "__metadata__")["dtype"] == "BF16"
width = 2 if half else 4
sizes = [(os.fstat(file).st_size - start) // width for file, start in zip(models[0], starts[0], strict=True)]
pieces = [(s, at, min(PIECE, size - at)) for s, size in enumerate(sizes) for at in range(0, size, PIECE)]
total = sum(sizes)


def read(model: int, shard: int, at: int, count: int) -> np.ndarray:
    raw = os.pread(models[model][shard], width * count, starts[model][shard] + width * at)
    if half:
        return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, np.float32)


def sensitivity(piece: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    base, omega, magnitudes, deltas = read(0, *piece), *np.zeros((3, piece[2]), np.float32)
    for model in range(1, len(models)):
        delta = read(model, *piece) - base
        deltas += delta
        np.abs(delta, out=delta)
        omega += delta * magnitudes
        magnitudes += delta
    return base, 2 * omega, deltas


def upper(piece: tuple[int, int, int]) -> np.ndarray:
    return np.bincount(sensitivity(piece)[1].view(np.uint32) >> 16, minlength=2**16)


def lower(piece: tuple[int, int, int]) -> np.ndarray:
    bits = sensitivity(piece)[1].view(np.uint32)
    return np.bincount(bits[bits >> 16 == wanted] & 0xFFFF, minlength=2**16)


def merge(piece: tuple[int, int, int]) -> int:
    base, omega, deltas = sensitivity(piece)
    inside = omega < threshold
    values = base + coefficient * (deltas * inside)
    if half:  # to the nearest, halves to even
        bits = values.view(np.uint32)
        values = ((bits + (0x7FFF + (bits >> 16 & 1))) >> 16).astype(np.uint16)
    os.pwrite(outputs[piece[0]], values, starts[0][piece[0]] + width * piece[1])
    return int(np.count_nonzero(inside))


with ThreadPoolExecutor(2) as pool:
    below = np.cumsum(sum(pool.map(upper, pieces)))
    rank = total - int(tau * total)
    wanted = int(np.searchsorted(below, rank, side="right"))
    fine = np.cumsum(sum(pool.map(lower, pieces)))
    rank -= below[wanted - 1] if wanted else 0
    threshold = np.uint32(wanted << 16 | int(np.searchsorted(fine, rank, side="right"))).view(np.float32)
    output.mkdir()
    outputs = [os.open(output / name, os.O_CREAT | os.O_WRONLY) for name in shards]
    for file, source, start in zip(outputs, models[0], starts[0], strict=True):
        os.write(file, os.pread(source, start, 0))
    kept = sum(pool.map(merge, pieces))
print(json.dumps({"threshold": float(threshold), "kept": kept, "of": total}))
