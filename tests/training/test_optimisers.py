"""torch's optimisers without its compiler."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tatr.training.optimisers import eager

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow_scripts"

PROGRAM = """
import sys, torch
from tatr.training.optimisers import eager
parameter = torch.ones(3, requires_grad=True)
optimiser = eager(torch.optim.{name})([parameter])
optimiser.zero_grad()
parameter.sum().backward()
optimiser.step()
optimiser.load_state_dict(optimiser.state_dict())
assert parameter[0] != 1
print("torch._dynamo" in sys.modules)
"""


def steps(optimiser: type[torch.optim.Optimizer]) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """A matrix after five steps on random gradients, one of them after a restore; and the optimiser's averages."""
    draw = torch.Generator().manual_seed(0)
    matrix = torch.randn(7, 5, generator=draw).requires_grad_()
    running = optimiser([matrix], lr=0.01, weight_decay=0.1)
    for step in range(5):
        running.zero_grad()
        assert matrix.grad is None
        (matrix.sin() * torch.randn(7, 5, generator=draw)).sum().backward()
        running.step()
        if step == 2:
            state, running = running.state_dict(), optimiser([matrix])
            running.load_state_dict(state)
    return matrix.detach(), [value for entries in running.state.values() for value in entries.values()]


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, torch.optim.AdamW])
def test_steps_are_those_of_torch_to_the_bit(optimiser: type[torch.optim.Optimizer]) -> None:
    found, averages = steps(eager(optimiser))
    expected, averages_expected = steps(optimiser)
    assert torch.equal(found, expected)
    assert len(averages) == len(averages_expected) == 3
    assert all(torch.equal(a, b) for a, b in zip(averages, averages_expected, strict=True))


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_the_compiler_is_not_imported(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(name=name)], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
