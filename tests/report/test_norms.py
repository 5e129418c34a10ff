"""Task vectors of very unequal length are remarked on."""

import pytest

from tatr.report.norms import FACTOR, unequal_norms


@pytest.mark.parametrize("norms", [{}, {"a": 1.0}, {"a": 1.0, "b": FACTOR}, {"a": 0.0, "b": 0.0}])
def test_alike(norms: dict[str, float]) -> None:
    assert unequal_norms(norms, {}) == []


def test_unequal() -> None:
    (text,) = unequal_norms({"a": 1.0, "b": 4.2, "c": 3.0}, {"b": "Cars"})
    assert text.startswith("The task vector of Cars is 4.2 times as long as that of a (‖Δ‖ 4.2 and 1): ")


def test_a_task_vector_of_zero() -> None:
    (text,) = unequal_norms({"a": 0.0, "b": 4.2}, {})
    assert "is not zero, unlike that of a" in text
