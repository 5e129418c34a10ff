"""Products in float32 whose error is small, and known."""

import numpy as np
import pytest

from tatr.merging.matrices import gram_products
from tatr.merging.matrices.gram_products import PROBES, exact_products, sums

INPUTS, OUTPUTS, TASKS = 200, 30, 3


def pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Gram matrices of inputs with a large mean and a few large channels, and maps."""
    rng = np.random.default_rng(0)
    center, scales = rng.normal(size=INPUTS) * 3, np.exp(rng.normal(size=INPUTS))
    inputs = [rng.normal(size=(600, INPUTS)) * scales + center for _ in range(TASKS)]
    return [((x.T @ x).astype(np.float32), rng.normal(size=(INPUTS, OUTPUTS)).astype(np.float32)) for x in inputs]


def direct(off_diagonal: float) -> tuple[np.ndarray, np.ndarray]:
    factors = np.where(np.eye(INPUTS, dtype=bool), 1, off_diagonal)
    weighted = [(factors * gram.astype(np.float64), maps) for gram, maps in pairs()]
    return sum(gram for gram, _ in weighted), sum(gram @ maps.astype(np.float64) for gram, maps in weighted)


@pytest.mark.parametrize("off_diagonal", [0.0, 0.9, 1.0])
def test_sums_are_those_of_float64(off_diagonal: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram_products, "ROWS", 64)
    total, products = direct(off_diagonal)
    found = sums(pairs(), INPUTS, OUTPUTS, off_diagonal)
    np.testing.assert_allclose(found.grams, total, rtol=1e-14)
    errors = found.products[:, :OUTPUTS] - products
    assert 0 < np.linalg.norm(errors) < 1e-7 * np.linalg.norm(products)
    exact = exact_products(pairs(), INPUTS, OUTPUTS, off_diagonal)
    np.testing.assert_allclose(exact, products, rtol=1e-12, atol=1e-12 * np.abs(products).max())


def test_probes_tell_the_error() -> None:
    _, products = direct(0.9)
    found = sums(pairs(), INPUTS, OUTPUTS, 0.9)
    errors = np.linalg.norm(found.products[:, :OUTPUTS] - products)
    estimate = np.linalg.norm(found.products[:, OUTPUTS:]) / PROBES**0.5
    assert errors / 1.5 < estimate < errors * 1.5


def test_the_low_rank_part_makes_float32_exacter(monkeypatch: pytest.MonkeyPatch) -> None:
    def error() -> float:
        return float(np.linalg.norm(sums(pairs(), INPUTS, OUTPUTS, 0.9).products[:, OUTPUTS:]))

    with_it = error()
    monkeypatch.setattr(gram_products, "RANK", 1)
    assert with_it < error() / 2


def test_gram_matrices_of_nothing_give_nothing() -> None:
    nothing = [(np.zeros((5, 5), np.float32), np.ones((5, 2), np.float32))]
    found = sums(nothing, 5, 2, 0.9)
    assert not found.grams.any()
    assert not found.products.any()
