"""Calibration of a merge's singular values (SVC): directions along which tasks add up to too much are damped.

It applies to any merge, as the trust region does, and comes before it: λ·v is calibrated, then masked, then added.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import numpy as np
from annotated_types import Interval

from tatr.errors import TatrError
from tatr.merging.matrices.decompositions import leading
from tatr.merging.matrices.each_parameter import each_part
from tatr.merging.matrices.task_matrices import TaskMatrices, is_matrix
from tatr.merging.methods import Method
from tatr.vectors.apply import Direction
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector, common_length

TITLES = {"svc": "SVC"}
"""What configs call calibrations, and what tables call them."""

Alpha = Annotated[
    float | None, Interval(gt=0, le=1), "α, the smallest projection that counts; null for 1/K, and for TSV-M 1"
]


def calibrated(
    direction: Direction, task_vectors: Sequence[Vector], layout: Layout, coefficients: Sequence[float], alpha: float
) -> Iterator[np.ndarray]:
    """λ·v with its singular values calibrated, which is added to θ_pre with the factor 1; blocks of it, float32.

    Source: "When shared knowledge hurts: spectral over-accumulation in model merging" (SVC, arXiv 2602.05536, ICML
    2026). In each matrix W of λ·v the singular values σ become γ ⊙ σ, see `calibrated_matrix`. Matrices are those of
    `tatr.merging.matrices.task_matrices`, attention's queries, keys and values stacked; all else is λ·v. In memory is
    one parameter per thread, with about 80 bytes per entry.

    Args:
        direction: v, float32 [N].
        task_vectors: Δ_k, each float32 [N].
        layout: of all of them.
        coefficients: λ of each parameter, in the layout's order.
        alpha: α.

    Raises:
        TatrError: the vectors are of another encoder than the layout.
    """
    given = [] if isinstance(direction, Iterator) else [direction]
    if common_length([*task_vectors, *given]) != layout.size:
        raise TatrError(
            f"calibration: vectors of {len(task_vectors[0]):,} entries but a layout of {layout.size:,}; they belong to "
            "different encoders"
        )
    by_name = {parameter.name: value for parameter, value in zip(layout.parameters, coefficients, strict=True)}

    def at(parameter: Parameter, part: np.ndarray) -> np.ndarray:
        coefficient = by_name[parameter.name]
        if not is_matrix(parameter):
            return np.float32(coefficient) * part
        tasks = TaskMatrices(task_vectors, parameter)
        matrix = coefficient * part.astype(np.float64).reshape(parameter.shape)
        found = calibrated_matrix(matrix.T if tasks.turned else matrix, tasks, alpha).astype(np.float32)
        return found.T if tasks.turned else found

    return each_part(at, direction, layout, lambda parameter: (80 if is_matrix(parameter) else 8) * parameter.size)


def calibrated_matrix(merged: np.ndarray, tasks: Iterable[np.ndarray], alpha: float) -> np.ndarray:
    """U diag(γ ⊙ σ) Vᵀ of W = U diag(σ) Vᵀ, with γ_r = K / Σ_k max(α, s_kr).

    s_kr = ⟨u_rᵀ W, u_rᵀ D_k⟩ / ‖u_rᵀ D_k‖² says how much of W task k sees along its own change in the output direction
    u_r: 1 is just what it learnt. Where u_rᵀ D_k is zero, to the rounding of float64, s_kr is zero.

    Args:
        merged: W, float64 [out, in].
        tasks: D_k, each float64 [out, in].
        alpha: α, above 0; so γ is at most 1/α.
    """
    left, values, right = leading(merged, min(merged.shape))
    total, count = np.zeros(len(values)), 0
    for task in tasks:
        own = left.T @ task
        squares = np.einsum("ri,ri->r", own, own)
        products = values * np.einsum("ri,ir->r", own, right)
        there = squares > (max(task.shape) * np.finfo(np.float64).eps * np.linalg.norm(task)) ** 2
        total += np.maximum(alpha, np.divide(products, squares, out=np.zeros(len(values)), where=there))
        count += 1
    left *= count / total * values
    return left @ right.T


def check_calibration(name: str | None, method: Method) -> None:
    """Raise unless there is such a calibration, and it is defined for the method; None asks for none."""
    if name is None:
        return
    if not isinstance(name, str) or name not in TITLES:
        raise TatrError(f"calibration: {name!r} is unknown; expected {' or '.join(TITLES)}")
    _refuse_arbitrary(method)


def alpha_of(method: Method, tasks: int, alpha: float | None = None) -> float:
    """The α that counts: the one given, else the method's, else 1/K.

    Args:
        method: whose merge is calibrated.
        tasks: K.
        alpha: as the config gives it.

    Raises:
        TatrError: the method's merges have no singular vectors of their own.
    """
    _refuse_arbitrary(method)
    return next((given for given in (alpha, method.calibration_alpha) if given is not None), 1 / tasks)


def refusal(method: Method) -> str | None:
    """Why a method's merges can't be calibrated, if so."""
    if not method.equal_singular_values:
        return None
    return (
        f"{method.name} makes all singular values of a matrix equal, so its singular vectors, which calibration looks "
        "at, are arbitrary; calibrate another method, or leave calibration out"
    )


def _refuse_arbitrary(method: Method) -> None:
    if reason := refusal(method):
        raise TatrError(f"calibration: {reason}")
