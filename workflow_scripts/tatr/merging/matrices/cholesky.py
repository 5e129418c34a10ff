"""Cholesky's decomposition in place and on several threads: SciPy's would copy the matrix, or hold Python's lock."""

import numpy as np

from tatr.vectors.layout import cut
from tatr.vectors.threads import in_order

STEP = 192
"""Rows and columns that are handled at once."""


def factorise(system: np.ndarray) -> bool:
    """Put L of A = L·Lᵀ into the lower triangle of a symmetric matrix; False, with rubbish there, if it is indefinite.

    What is above the diagonal stays as it is.

    Args:
        system: A, float64 [n, n].
    """
    steps = [*cut(slice(0, len(system)), STEP)]
    for index, columns in enumerate(steps):
        done = system[columns, : columns.start]
        try:
            lower = np.linalg.cholesky(system[columns, columns] - done @ done.T)  # which reads the lower triangle
        except np.linalg.LinAlgError:
            return False
        inverse = np.linalg.inv(lower)

        def update(rows: slice, columns: slice = columns, inverse: np.ndarray = inverse) -> None:
            done = system[rows, : columns.start] @ system[columns, : columns.start].T
            system[rows, columns] = (system[rows, columns] - done) @ inverse.T

        for _ in in_order(update, steps[index + 1 :]):
            pass
        places = np.tril_indices(len(lower))
        system[columns, columns][places] = lower[places]
    return True


def solve(factor: np.ndarray, sides: np.ndarray) -> None:
    """Replace right-hand sides B by A⁻¹·B.

    Args:
        factor: what `factorise` made of A, float64 [n, n].
        sides: B, float64 [n, m].
    """
    steps = [*cut(slice(0, len(factor)), STEP)]
    inverses = [np.linalg.inv(np.tril(factor[rows, rows])) for rows in steps]

    def substitute(columns: slice) -> None:
        part = sides[:, columns]
        for rows, inverse in zip(steps, inverses, strict=True):
            part[rows] = inverse @ (part[rows] - factor[rows, : rows.start] @ part[: rows.start])
        for rows, inverse in zip(steps[::-1], inverses[::-1], strict=True):
            part[rows] = inverse.T @ (part[rows] - factor[rows.stop :, rows].T @ part[rows.stop :])

    # Equal shares: a last one of a few columns would take nearly as long as the others.
    width = -(-sides.shape[1] // -(-sides.shape[1] // STEP))
    for _ in in_order(substitute, cut(slice(0, sides.shape[1]), width)):
        pass


def mirror(system: np.ndarray) -> None:
    """Copy what is above the diagonal below it: A again after `factorise`, but for the diagonal."""
    for row in range(len(system)):
        system[row + 1 :, row] = system[row, row + 1 :]
