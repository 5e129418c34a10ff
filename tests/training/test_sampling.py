"""Batches and crops drawn ahead: in the order of a plain loop, and gone on with from any step."""

import itertools

import numpy as np
import pytest
import torch

from tatr.training.crops import random_crops
from tatr.training.recipes.fine_tuning import FineTuning
from tatr.training.sampling import Draw, Sampler

COUNTS = (5, 12)
RECIPE = FineTuning(batch_size=4, crop_scale=(0.5, 1.0), seed=3)


def assert_same(one: Draw, other: Draw) -> None:
    assert one.task == other.task
    np.testing.assert_array_equal(one.indices, other.indices)
    assert torch.equal(one.crops, other.crops)
    assert one.state.keys() == other.state.keys()
    assert all(torch.equal(tensor, other.state[name]) for name, tensor in one.state.items())


def test_indices_and_crops_are_those_of_a_plain_loop() -> None:
    generator, waiting = torch.Generator().manual_seed(RECIPE.seed), ([], [])
    for step, draw in enumerate(Sampler(COUNTS, RECIPE).draws(range(9))):
        left = waiting[step % 2]
        while len(left) < 4:
            left += torch.randperm(COUNTS[step % 2], generator=generator).tolist()
        assert draw.task == step % 2
        assert draw.indices.tolist() == [left.pop(0) for _ in range(4)]
        assert torch.equal(draw.crops, random_crops(4, RECIPE.crop_scale, generator))


@pytest.mark.parametrize("step", [0, 1, 4, 7])
@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_from_the_state_after_a_step_it_goes_on_however_far_ahead_was_drawn(step: int, ahead: int) -> None:
    expected = list(Sampler(COUNTS, RECIPE).draws(range(12)))
    sampler = Sampler(COUNTS, RECIPE)
    state = sampler.state()
    drawn = list(itertools.islice(sampler.draws(range(12)), step + ahead))
    state = drawn[step - 1].state if step else state
    again = Sampler(COUNTS, RECIPE)
    again.restore(state)
    for one, other in zip(again.draws(range(step, 12)), expected[step:], strict=True):
        assert_same(one, other)
