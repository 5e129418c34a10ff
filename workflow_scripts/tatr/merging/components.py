"""A task vector's components against a gradient: orthogonal, positive and negative (§4 and App. B of arXiv 2501.15065).

Entry by entry: the loss rises along a positive entry to first order, falls along a negative one, and hardly reacts to
an orthogonal one. The paper gives no number for "hardly"; it speaks of mask ratios (Fig. 6). So a share τ is taken, as
of a trust region: the entries with the largest products are positive or negative, by the product's sign, and the rest
are orthogonal. A merge inside the trust region of these products is the orthogonal component.
"""

from typing import NamedTuple

import numpy as np

from tatr.errors import TatrError
from tatr.merging.mask import thresholds
from tatr.vectors.vector import Vector, mapped


class PartedVector(NamedTuple):
    """Three vectors, each float32 [N], computed on access. Of every entry two are zero; they sum to the whole."""

    orthogonal: Vector
    """Δ⊥."""
    positive: Vector
    """Δ⁺."""
    negative: Vector
    """Δ⁻."""


def signs_of_products(products: Vector, tau: float) -> Vector:
    """Which component each entry belongs to: 1 the positive, −1 the negative, 0 the orthogonal; int8 [N].

    Args:
        products: ∇L ⊙ Δ, or a sum of such products, float32 or float64 [N].
        tau: share of the entries, those with the largest magnitude of the product, that are not orthogonal. Entries
            that equal the ⌊τN⌋-th largest are not, either.

    Raises:
        TatrError: τ is not in (0, 1), or so many products are zero that all entries would be taken.
    """
    if not 0 < tau < 1:
        raise TatrError(f"tau = {tau:g}: expected the share of positive and negative entries, above 0 and below 1")
    sizes = mapped(lambda part: np.abs(part).astype(np.float32), products)
    ((epsilon, _),) = thresholds(sizes, [tau])

    def signs(part: np.ndarray) -> np.ndarray:
        large = np.abs(part).astype(np.float32) >= np.float32(epsilon)
        return (np.sign(part) * large).astype(np.int8)

    return mapped(signs, products)


def components(vector: Vector, products: Vector, tau: float) -> PartedVector:
    """A vector's components; arguments and errors as of `signs_of_products`, and vectors of different lengths.

    Args:
        vector: v, float32 [N].
        products: ∇L ⊙ v, or the sum Σ_{i≠j} ∇L_j ⊙ Δ_i where v is a sum of task vectors.
        tau: share of the entries that are not orthogonal.
    """
    signs = signs_of_products(products, tau)

    def of(sign: int) -> Vector:
        return mapped(lambda part, its: part * (its == sign), vector, signs)

    return PartedVector(of(0), of(1), of(-1))
