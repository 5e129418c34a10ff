"""Methods on matrices as their formulas read: full decompositions in float64, everything in memory."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve


def isotropic(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """σ̄·U Vᵀ of the sum (Iso-C)."""
    left, values, right = _components(np.sum(matrices, axis=0, dtype=np.float64))
    return left @ right * values.sum() / min(matrices[0].shape)


def orthogonalised(matrices: Sequence[np.ndarray], rank: int) -> np.ndarray:
    """U⊥ diag(σ) V⊥ᵀ of all matrices' leading components (TSV-M)."""
    kept = [_components(matrix.astype(np.float64), rank) for matrix in matrices]
    lefts, _, lefts_right = _components(np.hstack([left for left, _, _ in kept]))
    rights, _, rights_right = _components(np.hstack([right.T for _, _, right in kept]))
    values = np.concatenate([values for _, values, _ in kept])
    return (lefts @ lefts_right * values) @ (rights @ rights_right).T


def nearest_isometry(columns: np.ndarray) -> np.ndarray:
    """The nearest matrix with orthonormal columns: U Vᵀ of U diag(σ) Vᵀ."""
    left, _, right = np.linalg.svd(columns, full_matrices=False)
    nearest: np.ndarray = left @ right
    return nearest


def svc(merged: np.ndarray, tasks: Sequence[np.ndarray], alpha: float) -> np.ndarray:
    """U diag(γ ⊙ σ) Vᵀ, one singular component after the other (calibration by SVC)."""
    left, values, right = np.linalg.svd(merged.astype(np.float64), full_matrices=False)
    found = np.zeros(merged.shape)
    for u, value, v in zip(left.T, values, right, strict=True):
        sums = 0.0
        for task in tasks:
            own = u @ task.astype(np.float64)
            sums += max(alpha, float((u @ merged) @ own) / float(own @ own))
        found += len(tasks) / sums * value * np.outer(u, v)
    return found


def regression(grams: Sequence[np.ndarray], maps: Sequence[np.ndarray], off_diagonal: float) -> np.ndarray:
    """Δ̄ + (Σ G_k)⁻¹ Σ G_k (Δ_k − Δ̄), G_k with smaller off-diagonal entries (RegMean)."""
    mean = np.mean(maps, axis=0, dtype=np.float64).astype(np.float32)
    total, pull = np.zeros(grams[0].shape), np.zeros(mean.shape)
    for gram, its in zip(grams, maps, strict=True):
        weighted = gram.astype(np.float64) * off_diagonal
        np.fill_diagonal(weighted, gram.diagonal())
        total += weighted
        pull += weighted @ np.subtract(its, mean, dtype=np.float64)
    solution: np.ndarray = mean + cho_solve(cho_factor(total), pull)
    return solution


def balanced(vectors: Sequence[np.ndarray], ratio: float, clamp: float) -> np.ndarray:
    """Σ_k w_k Δ̃_k / Σ_k w_k (PCB-Merging), every score of every entry, order statistics by sorting."""
    count, size = len(vectors), len(vectors[0])
    cut, kept = (int(share * size + 1e-9) for share in (clamp, ratio))
    spans = [np.sort(np.abs(vector))[[cut, -1 - cut]].tolist() for vector in vectors]
    normals = [np.sign(v) * _scaled(np.abs(v), *span) for v, span in zip(vectors, spans, strict=True)]
    total, weights = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for vector, span, normal in zip(vectors, spans, normals, strict=True):
        agreement = np.zeros(size)
        for other in normals:
            agreement += np.tanh(normal * other)
        scores = (np.exp(count * (normal**2 - 1)) * agreement).astype(np.float32)
        weight = _scaled(scores, *np.sort(scores)[[size - kept, -1]].tolist())
        total += weight * np.sign(vector) * np.clip(np.abs(vector), *span)
        weights += weight
    return np.divide(total, weights, out=np.zeros_like(total), where=weights > 0)


def _components(matrix: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    rank = int((values > values.max(initial=0) * max(matrix.shape) * np.finfo(np.float64).eps).sum())
    rank = min(rank, most or rank)
    return left[:, :rank], values[:rank], right[:rank]


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if not high > low:
        return np.zeros_like(values)
    scaled: np.ndarray = (np.clip(values, low, high) - low) / (high - low)
    return scaled
