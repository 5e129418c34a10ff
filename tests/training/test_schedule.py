"""The learning rate: warm-up, cosine, and that both trainings have the rates that they had by formulas of their own."""

import json
import math
from pathlib import Path

import pytest

from tatr.training.schedule import learning_rate_at

RECIPE = json.loads((Path(__file__).parents[2] / "backbones/tiny-clip/pretraining.json").read_text())


def test_the_learning_rate_warms_up_linearly_and_decays_as_a_cosine() -> None:
    assert [learning_rate_at(step, 8.0, 4, 12) for step in range(4)] == [2, 4, 6, 8]
    assert learning_rate_at(4, 8.0, 4, 12) == 8
    assert learning_rate_at(8, 8.0, 4, 12) == pytest.approx(4)
    assert learning_rate_at(6, 8.0, 4, 12) == pytest.approx(8 * (1 + 0.5**0.5) / 2)
    assert learning_rate_at(12, 8.0, 4, 12) == pytest.approx(0)


@pytest.mark.parametrize("warmup", [0, 12, 20])
def test_any_length_of_warmup_gives_positive_rates(warmup: int) -> None:
    assert all(0 < learning_rate_at(step, 1.0, warmup, 12) <= 1 for step in range(12))


def test_the_shipped_backbone_was_trained_at_these_rates_bit_for_bit() -> None:
    warmup, steps, peak = RECIPE["warmup"], RECIPE["steps"], RECIPE["learning_rate"]
    for step in range(steps):
        done = (step - warmup) / max(1, steps - warmup)
        factor = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * done))
        assert peak * learning_rate_at(step, 1.0, warmup, steps) == peak * factor
