"""What the tests of AdaMerging's coefficients share."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from small_problem import NAMES, RECIPE, write_task

from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.training.adaptation import CoefficientLearner
from tatr.training.banks import TaskVectorBank
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.scratch import ImageBank


@pytest.fixture
def vectors(encoder: Encoder) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.2, (len(NAMES), encoder.layout.size)).astype(np.float32)


@pytest.fixture
def mask(encoder: Encoder) -> np.ndarray:
    return np.random.default_rng(4).random(encoder.layout.size) < 0.8


@pytest.fixture
def tasks(encoder: Encoder, tmp_path: Path) -> list[Task]:
    """Three tasks of 2, 3 and 4 classes."""
    found = []
    for seed, name in enumerate(NAMES):
        write_task(tmp_path / name, encoder, seed)
        weight = torch.randn(seed + 2, encoder.architecture.embed_dim, generator=torch.manual_seed(seed))
        found.append(Task(name, 5 * F.normalize(weight, dim=-1), tmp_path / name / "images.zarr"))
    return found


Start = Callable[..., CoefficientLearner]


@pytest.fixture
def start(encoder: Encoder, vectors: np.ndarray, tasks: list[Task], tmp_path: Path) -> Iterator[Start]:
    """An adaptation before its first iteration."""
    with ExitStack() as stack:

        def make(recipe: Adaptation = RECIPE, mask: np.ndarray | None = None) -> CoefficientLearner:
            bank = TaskVectorBank(tmp_path, [*vectors], encoder.layout, mask, recipe.density)
            images = ImageBank(tmp_path, tasks, recipe.split)
            stack.enter_context(bank)
            stack.enter_context(images)
            return CoefficientLearner(encoder, bank, tasks, images, recipe, "cpu")

        yield make
