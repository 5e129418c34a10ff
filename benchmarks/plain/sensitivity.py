"""Ω from gradients, masks, and the sum of the task vectors as one would write it by hand: NumPy, two threads.

Reads raw float32 files, FOLDER/delta0.bin, FOLDER/gradient0.bin and so on, and writes raw files: omega.bin, merged.bin
and a mask of one byte per parameter for each τ. Nothing is checked, and nothing can tell a damaged file.

example: python benchmarks/plain/sensitivity.py FOLDER 0.001 0.002 0.005 0.01 0.02 0.05
"""

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

PIECE = 2**17
folder, taus = Path(sys.argv[1]), [float(text) for text in sys.argv[2:]]
deltas, gradients = ([os.open(path, os.O_RDONLY) for path in sorted(folder.glob(f"{k}*.bin"))] for k in ("delta", "g"))
size = os.fstat(deltas[0]).st_size // 4
pieces = [slice(at, min(at + PIECE, size)) for at in range(0, size, PIECE)]
omega_file, merged_file, *mask_files = (
    os.open(folder / f"{name}.bin", os.O_CREAT | os.O_TRUNC | os.O_RDWR)
    for name in ("omega", "merged", *(f"mask-{tau:g}" for tau in taus))
)


def read(file: int, piece: slice) -> np.ndarray:
    return np.frombuffer(os.pread(file, 4 * (piece.stop - piece.start), 4 * piece.start), np.float32)


def sensitivity(piece: slice) -> np.ndarray:
    omega, moving, reacting, merged = np.zeros((4, piece.stop - piece.start), np.float32)
    for delta_file, gradient_file in zip(deltas, gradients, strict=True):
        delta, gradient = read(delta_file, piece), read(gradient_file, piece)
        merged += delta
        magnitude = np.abs(delta)
        omega += gradient * moving
        omega += magnitude * reacting
        moving += magnitude
        reacting += gradient
    os.pwrite(omega_file, omega, 4 * piece.start)
    os.pwrite(merged_file, merged, 4 * piece.start)
    return np.bincount(omega.view(np.uint32) >> 16, minlength=2**16)


def lower(piece: slice) -> np.ndarray:
    bits = read(omega_file, piece).view(np.uint32)
    high, low = bits >> 16, bits & 0xFFFF
    return np.stack([np.bincount(low[high == wanted], minlength=2**16) for wanted in bins])


def masks(piece: slice) -> np.ndarray:
    omega, kept = read(omega_file, piece), []
    for file, threshold in zip(mask_files, thresholds, strict=True):
        mask = omega < threshold
        os.pwrite(file, mask, piece.start)
        kept.append(np.count_nonzero(mask))
    return np.array(kept)


with ThreadPoolExecutor(2) as pool:
    below = np.concatenate([[0], np.cumsum(sum(pool.map(sensitivity, pieces)))])
    ranks = [size - int(tau * size) for tau in taus]
    bins = [int(np.searchsorted(below, rank, side="right")) - 1 for rank in ranks]
    fine = np.cumsum(sum(pool.map(lower, pieces)), axis=1)
    thresholds = [
        np.uint32(wanted << 16 | int(np.searchsorted(row, rank - below[wanted], side="right"))).view(np.float32)
        for wanted, row, rank in zip(bins, fine, ranks, strict=True)
    ]
    kept = sum(pool.map(masks, pieces))
print(json.dumps({f"{tau:g}": found for *found, tau in zip(map(float, thresholds), map(int, kept), taus, strict=True)}))
