"""RegMean: each linear map's outputs stay as close as they can to those of the fine-tuned ones on their own inputs."""

import logging
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.errors import TatrError
from tatr.merging.linear_maps import Gram, as_map, from_map, inputs_of, is_linear_map
from tatr.merging.methods import method
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector, recut

logger = logging.getLogger("tatr")

NOISE = 1e-6
"""Share of an input's second moment below which what other inputs leave unexplained may be rounding of float32."""


@method("RegMean", coefficient=1.0)
def regmean(
    task_vectors: Sequence[Vector],
    layout: Layout,
    grams: Sequence[Vector],
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
    Trust region: the mask multiplies v. Masked task vectors would be other regression targets, for which G_k was not
    measured.
    Differences from published codes: codes that hook `Linear` modules of open_clip average attention's in_proj and
    out_proj unnoticed, as neither is called as a module; codes for other encoders leave out the patch embedding, and
    one benchmark multiplies by 0.6. They divide G_k by the number of tokens, here by that of images, which are
    proportional for each map. They invert in float32; here the system is solved in float64 for the deviation from the
    mean, v = Δ̄ + (Σ G_k)⁻¹ Σ G_k (Δ_k − Δ̄), so equal models merge to themselves exactly and a ridge, should a matrix
    be singular, pulls the result towards the mean instead of zero. Such a ridge is logged.
    Cost: 2·K·in²·out float64 operations per map, and a quarter as many to solve (ViT-B/32 with 8 tasks: 2.6 · 10¹² in
    all, some two minutes on one core); one [in, in] matrix in float64 and four weights in memory.
    """
    # `exemplars` is a setting of the stage that measures `grams`; here they have been measured.
    matrices = [Gram.over(layout, values) for values in grams]
    parts = (_merged(parameter, task_vectors, matrices, off_diagonal) for parameter in layout.parameters)
    yield from recut(parts, layout.size)


def _merged(
    parameter: Parameter, task_vectors: Sequence[Vector], grams: Sequence[Gram], off_diagonal: float
) -> np.ndarray:
    inside = slice(parameter.offset, parameter.stop)
    mean = np.zeros(parameter.size)
    for vector in task_vectors:
        mean += vector[inside]
    mean = (mean / len(task_vectors)).astype(np.float32)
    if not is_linear_map(parameter):
        return mean
    inputs = inputs_of(parameter)
    total, pull = np.zeros((inputs, inputs)), np.zeros((inputs, parameter.size // inputs), order="F")
    for vector, gram in zip(task_vectors, grams, strict=True):
        deviation = as_map(parameter, np.subtract(vector[inside], mean, dtype=np.float64))
        # By rows: of one task's matrix no copy in float64 is ever whole.
        for rows, part in gram.rows(parameter.name):
            weighted = part.astype(np.float64)
            moments = weighted[np.arange(len(part)), np.arange(rows.start, rows.stop)]
            weighted *= off_diagonal
            weighted[np.arange(len(part)), np.arange(rows.start, rows.stop)] = moments
            total[rows] += weighted
            pull[rows] += weighted @ deviation
    _solve(total, pull, parameter.name)
    del total
    return (mean + from_map(parameter, pull)).astype(np.float32)


def _solve(total: np.ndarray, pull: np.ndarray, name: str) -> None:
    """Replace `pull` by (total + ridge)⁻¹ pull with the smallest ridge, of powers of ten, that makes the system sound.

    `total` is used up.
    """
    from scipy.linalg.lapack import dpotrs  # here, as planning loads this module, too

    diagonal = total.diagonal().copy()
    scale = float(diagonal.mean()) or 1.0
    for ridge in (0.0, *(10.0**power for power in range(-10, 1))):
        np.fill_diagonal(total, diagonal + ridge * scale)
        if _factorise(total):
            if ridge:
                logger.warning(
                    "regmean: inputs of '%s' are linearly dependent; added a ridge of %g times their mean second "
                    "moment, which pulls the result towards the mean of the models",
                    name,
                    ridge,
                )
            dpotrs(total.T, pull, lower=1, overwrite_b=1)
            return
        _mirror(total)
    raise TatrError(f"regmean: the Gram matrices of '{name}' are not positive semidefinite; measure them again")


def _factorise(system: np.ndarray) -> bool:
    """Put the Cholesky factor of a symmetric matrix into its upper triangle; whether the matrix is sound.

    In place, as a copy of the largest maps' matrices takes 128 MiB (ViT-L/14). The lower triangle stays as it is.
    """
    from scipy.linalg.lapack import dpotrf  # SciPy's friendlier functions copy the matrix

    moments = system.diagonal().copy()
    _, failed = dpotrf(system.T, lower=1, clean=0, overwrite_a=1)
    # The square of a Cholesky pivot is what the inputs before it leave unexplained of an input.
    return not failed and bool((system.diagonal() ** 2 > NOISE * moments).all())


def _mirror(system: np.ndarray) -> None:
    """Copy the lower triangle over the upper one."""
    for row in range(len(system)):
        system[row, row:] = system[row:, row]
