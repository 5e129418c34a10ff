"""RegMean: each linear map's outputs stay as close as they can to those of the fine-tuned ones on their own inputs."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.errors import TatrError
from tatr.merging.matrices.cholesky import factorise, mirror, solve
from tatr.merging.matrices.each_parameter import one_blas_thread
from tatr.merging.matrices.gram_products import PROBES, exact_products, sums
from tatr.merging.matrices.linear_maps import Gram, as_map, from_map, inputs_of
from tatr.merging.methods import method
from tatr.merging.task_weights import Weights, factors_of, with_mean_one
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector, computed, recut, section

logger = logging.getLogger("tatr")

NOISE = 1e-6
"""Share of an input's second moment below which what other inputs leave unexplained may be rounding of float32."""

TOLERANCE = 1e-5
"""Share of a merged map (Frobenius norm) that products in float32 may put it off by; else float64 takes their place."""


@method("RegMean", coefficient=1.0)
def regmean(
    task_vectors: Sequence[Vector],
    layout: Layout,
    grams: Sequence[Vector],
    weights: Weights = None,
    *,
    exemplars: Annotated[int, Interval(ge=1), "training images per task that Gram matrices are measured on"] = 256,
    off_diagonal: Annotated[float, Interval(ge=0, le=1), "factor of the Gram matrices' off-diagonal entries"] = 0.9,
) -> Iterator[np.ndarray]:
    """v = (Σ_k G_k)⁻¹ Σ_k G_k Δ_k for every linear map x ↦ x·M, and (1/K) Σ_k Δ_k for all other parameters.

    Source: Jin et al. 2023, "Dataless knowledge fusion by merging weights of language models" (arXiv 2212.09849),
    Eq. 2. G_k is Σ xxᵀ over the map's inputs x in model θ_k on its own task's images. The merged map minimises
    Σ_k ‖X_k M − X_k M_k‖²; in terms of M_k it is (Σ G_k)⁻¹ Σ G_k M_k, and with M_k = M_pre + Δ_k its first part is
    (Σ G_k)⁻¹ (Σ G_k) M_pre = M_pre: θ_pre + v is their merged model and λ = 1. No label is read.
    Linear maps are all of the image encoder's: patch embedding (of windows), attention's in_proj and out_proj, both of
    the MLP, and the projection. Positions, class token, biases and layer norms are averaged.
    Defaults: off-diagonal entries × 0.9 are the paper's choice (0.1 for T5, which is sensitive); 256 exemplars are
    what published CLIP benchmarks use (the authors take 1000 batches).
    Weights: G_k is multiplied by w_k, a task's weight in the sum of squares that the merged map minimises; means are
    weighted ones.
    Trust region: the mask multiplies v. Masked task vectors would be other regression targets, for which G_k was not
    measured.
    Differences from published codes: codes that hook `Linear` modules of open_clip average attention's in_proj and
    out_proj unnoticed, as neither is called as a module; codes for other encoders leave out the patch embedding, and
    one benchmark multiplies by 0.6. They divide G_k by the number of tokens, here by that of images, which are
    proportional for each map. They invert in float32; here the system is solved in float64 for the deviation from the
    mean, v = Δ̄ + (Σ G_k)⁻¹ Σ G_k (Δ_k − Δ̄), so equal models merge to themselves exactly and a ridge, should a matrix
    be singular, pulls the result towards the mean instead of zero. Such a ridge is logged.
    Products G_k (Δ_k − Δ̄) are in float32, but for a low-rank part of G_k that holds what inputs have in common (their
    mean, large channels): it is multiplied in float64. That is off by about 1e-6, relatively, as much as G_k's own
    rounding to float32 makes. Random combinations of outputs, computed in float64, tell by how much; above 1e-5 (inputs
    that are all but dependent, with `off_diagonal` at 1) float64 takes the place of float32 for the whole map.
    Cost: 2·K·in²·out float32 operations per map, and in³/3 + 2·in²·out in float64 to solve (ViT-B/32 with 8 tasks: 2.1
    and 0.4 · 10¹² in all), on all threads; one [in, in] matrix in float64, one in float32 and five weights in memory.
    """
    # `exemplars` is a setting of the stage that measures `grams`; here they have been measured.
    matrices = [Gram.over(layout, values) for values in grams]
    return recut(regressed(layout.parameters, task_vectors, matrices, weights, off_diagonal), layout.size)


def regressed(
    parameters: Iterable[Parameter],
    task_vectors: Sequence[Vector],
    grams: Sequence[Gram],
    weights: Weights,
    off_diagonal: float,
) -> Iterator[np.ndarray]:
    """RegMean at each of these parameters, float32 [size]: the regression where there are matrices, else the mean."""
    factors = factors_of(with_mean_one(weights), len(task_vectors))
    regressions = {place.name for place in grams[0].layout.parameters if len(place.shape) == 2}

    def merged(parameter: Parameter) -> np.ndarray:
        mean = _mean(parameter, task_vectors, factors)
        if parameter.name not in regressions:
            return mean
        tasks = [*zip(task_vectors, grams, factors, strict=True)]
        return _regression(parameter, mean, tasks, off_diagonal)

    return one_blas_thread(merged(parameter) for parameter in parameters)


def _mean(parameter: Parameter, task_vectors: Sequence[Vector], factors: Sequence[float]) -> np.ndarray:
    def part(block: slice) -> np.ndarray:
        mean = np.zeros(block.stop - block.start)
        for vector, factor in zip(task_vectors, factors, strict=True):
            mean += factor * vector[block].astype(np.float64)
        mean /= len(task_vectors)
        return mean

    return section(computed(part, *task_vectors), slice(parameter.offset, parameter.stop))


def _regression(
    parameter: Parameter, mean: np.ndarray, tasks: Sequence[tuple[Vector, Gram, float]], off_diagonal: float
) -> np.ndarray:
    inputs = inputs_of(parameter)

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for vector, gram, factor in tasks:
            matrix = gram.matrix(parameter.name)
            matrix *= np.float32(factor)
            yield matrix, as_map(parameter, _deviation(parameter, vector, mean))

    settings = (inputs, parameter.size // inputs, off_diagonal)
    factor, solution = sums(pairs(), *settings)
    _factorise(factor, parameter.name)
    solve(factor, solution)
    merged, errors = from_map(parameter, solution[:, :-PROBES]) + mean, solution[:, -PROBES:]
    if np.linalg.norm(errors) / PROBES**0.5 > TOLERANCE * np.linalg.norm(merged):
        solution = exact_products(pairs(), *settings)
        solve(factor, solution)
        merged = from_map(parameter, solution) + mean
    return merged.astype(np.float32)


def _deviation(parameter: Parameter, vector: Vector, mean: np.ndarray) -> np.ndarray:
    def part(block: slice) -> np.ndarray:
        return vector[block] - mean[block.start - parameter.offset : block.stop - parameter.offset]

    return section(computed(part, vector), slice(parameter.offset, parameter.stop))


def _factorise(total: np.ndarray, name: str) -> None:
    """Cholesky's decomposition of total + the smallest ridge, of powers of ten, that makes the system sound; in place.

    In place, as a copy of the largest maps' matrices takes 128 MiB (ViT-L/14).
    """
    moments = total.diagonal().copy()
    scale = float(moments.mean()) or 1.0
    for ridge in (0.0, *(10.0**power for power in range(-10, 1))):
        np.fill_diagonal(total, moments + ridge * scale)
        # The square of a pivot is what the inputs before it leave unexplained of an input.
        if factorise(total) and (total.diagonal() ** 2 > NOISE * (moments + ridge * scale)).all():
            if ridge:
                logger.warning(
                    "regmean: inputs of '%s' are linearly dependent; added a ridge of %g times their mean second "
                    "moment, which pulls the result towards the mean of the models",
                    name,
                    ridge,
                )
            return
        mirror(total)
    raise TatrError(f"regmean: the Gram matrices of '{name}' are not positive semidefinite; measure them again")
