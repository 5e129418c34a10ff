"""Two merging libraries that nobody here wrote, and small models for them and ours to merge.

`make test-parity` installs them beside the environment (envs/parity.txt) and sets TATR_TEST_PARITY=1: a missing library
is then a failure. Elsewhere, `make test` among them, these tests are skipped without the libraries.
"""

import importlib
import os
from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from whole import whole_direction

from tatr.merging.merge import MergeInputs
from tatr.vectors.layout import Layout

State = dict[str, Tensor]
TASKS = ("cars", "digits", "signs")
SHAPES = {
    "visual.class_embedding": (20,),
    "visual.positional_embedding": (10, 20),
    "visual.proj": (20, 10),
    "visual.conv1.weight": (20, 3, 5, 5),
    "visual.ln_pre.weight": (20,),
    "visual.transformer.resblocks.0.attn.in_proj_weight": (60, 20),
    "visual.transformer.resblocks.0.attn.in_proj_bias": (60,),
    "visual.transformer.resblocks.1.mlp.c_fc.weight": (40, 20),
    "visual.transformer.resblocks.1.mlp.c_fc.bias": (40,),
}
"""Sizes are multiples of 20, N = 4,040: shares of 5 % of any tensor are whole numbers of entries."""


@pytest.fixture(scope="session")
def mergekit() -> Callable[[str], ModuleType]:
    """A module of mergekit, by its name inside the package."""
    return lambda name: importlib.import_module(f"mergekit.{name}")


@pytest.fixture(scope="session")
def fusion_bench() -> Callable[[str], ModuleType]:
    """A module of fusion-bench, by its name inside the package."""
    # It imports libraries that could fetch something, which nothing here asks for.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    return lambda name: importlib.import_module(f"fusion_bench.{name}")


@pytest.fixture
def pretrained() -> State:
    """θ_pre, with some names and ranks of open_clip's; no larger than the updates, so that these are compared well."""
    return _random(SHAPES, 0, 0.02)


@pytest.fixture
def finetuned(pretrained: State) -> dict[str, State]:
    """θ_k of three tasks, whose updates differ in size as real ones do."""
    return {
        task: {name: pretrained[name] + step for name, step in _random(SHAPES, seed, 0.01 * seed).items()}
        for seed, task in enumerate(TASKS, 1)
    }


@pytest.fixture
def task_vectors(pretrained: State, finetuned: dict[str, State]) -> list[State]:
    """Δ_k by parameter, in the order of the tasks."""
    return [{name: state[name] - pretrained[name] for name in pretrained} for state in finetuned.values()]


@pytest.fixture
def ours() -> Callable[..., State]:
    """Our merged direction of task vectors given by parameter: `ours(method, task_vectors, settings, **given)`."""

    def merged(
        method: str, deltas: list[State], settings: Mapping[str, object] | None = None, **given: object
    ) -> State:
        layout = Layout.of({name: tuple(tensor.shape) for name, tensor in deltas[0].items()})
        flat = [layout.flatten({name: tensor.numpy() for name, tensor in delta.items()}) for delta in deltas]
        found = whole_direction(method, MergeInputs(flat, layout=layout, **given), settings)
        return {name: torch.from_numpy(part) for name, part in layout.unflatten(found).items()}

    return merged


@pytest.fixture(scope="session")
def agree() -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]:
    """Raise unless two state dicts agree to 1e-5, relative to the largest entry of each tensor."""

    def check(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
        assert one.keys() == other.keys()
        for name, tensor in one.items():
            expected = other[name].detach().float()
            assert tensor.shape == expected.shape, name
            assert (tensor.detach() - expected).abs().max() <= 1e-5 * expected.abs().max(), name

    return check


@pytest.fixture(scope="session")
def as_module() -> Callable[[State], nn.Module]:
    """A module whose parameters have the names and values of a state dict."""

    def build(state: State) -> nn.Module:
        root = nn.Module()
        for name, tensor in state.items():
            *path, last = name.split(".")
            place = root
            for part in path:
                if part not in dict(place.named_children()):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_parameter(last, nn.Parameter(tensor.clone()))
        return root

    return build


def _random(shapes: Mapping[str, tuple[int, ...]], seed: int, scale: float) -> State:
    rng = np.random.default_rng(seed)
    return {name: torch.from_numpy(rng.normal(0, scale, shape).astype(np.float32)) for name, shape in shapes.items()}
