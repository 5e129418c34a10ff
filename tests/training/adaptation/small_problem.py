"""Three tiny tasks, AdaMerging as its formulas read, and what tests of all learning by entropy share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from stored import write_images

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.merging.methods.ties import elect
from tatr.training import resume
from tatr.training.entropy import Batch, EntropyLearner, batch
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.recipes.rank_adaptation import RankAdaptation
from tatr.training.resume import Saved

Recipe = Adaptation | RankAdaptation

RECIPE = Adaptation(
    granularity="layer",
    density=None,
    initial=0.3,
    iterations=3,
    batch_size=6,
    learning_rate=0.05,
    split="test",
    seed=0,
)
NAMES = ("cars", "digits", "signs")


def write_task(folder: Path, encoder: Encoder, seed: int) -> None:
    """Images of a task; the labels are of classes that no head has, so whoever uses them fails."""
    rng, size = np.random.default_rng(seed), encoder.architecture.image_size
    splits = {
        split: (rng.integers(0, 256, (count, size, size, 3), np.uint8), np.full(count, 99))
        for split, count in (("train", 2), ("validation", 9), ("test", 20))
    }
    write_images(folder / "images.zarr", splits)


def prepared(encoder: Encoder, vectors: np.ndarray, mask: np.ndarray | None, density: float | None) -> np.ndarray:
    kept = elect([*vectors], encoder.layout, density)(slice(0, encoder.layout.size)) if density else vectors
    return kept if mask is None else np.where(mask, kept, 0)


def entropy_of(
    theta: dict[str, torch.Tensor], encoder: Encoder, task: Task, iteration: int, recipe: Recipe
) -> torch.Tensor:
    """Of a merged model's predictions on a task's batch, in float64."""
    images = task.unlabelled(recipe.split)
    chosen = images[batch(len(images), recipe.batch_size, iteration, recipe.seed, task.name)]
    pixels = clip.normalise(chosen, encoder.architecture).double()
    scores = clip.logits(theta, pixels, task.head.double(), encoder.architecture)
    return torch.distributions.Categorical(logits=scores).entropy().mean()


def course_of(learnt: list[torch.Tensor], losses: Callable[[int], list[torch.Tensor]], recipe: Recipe) -> list[float]:
    """Learn by the sum of all tasks' losses; the mean one of every iteration."""
    optimiser = torch.optim.Adam(learnt, lr=recipe.learning_rate)
    course = []
    for iteration in range(recipe.iterations):
        optimiser.zero_grad()
        of_tasks = losses(iteration)
        sum(of_tasks).backward()
        optimiser.step()
        course.append(sum(of_tasks).item() / len(of_tasks))
    return course


class KilledError(Exception):
    """Stands for a kill."""


def killed_twice(
    learner: type[EntropyLearner], learn: Callable[[Saved | None], str], path: Path, patch: pytest.MonkeyPatch
) -> None:
    """Seven iterations, of which the fourth and the fifth are killed once, end with the bytes of undisturbed ones."""
    patch.setattr(resume, "EVERY", 0.0)
    expected, advance, done = learn(None), learner.advance, list[int]()

    def until_killed(learning: EntropyLearner, batches: Iterator[Batch]) -> None:
        if len(done) in (3, 5):
            done.append(-1)
            raise KilledError
        advance(learning, batches)
        done.append(learning.iteration)

    patch.setattr(learner, "advance", until_killed)
    for _ in range(2):
        with pytest.raises(KilledError):
            learn(Saved(path, "key"))
    assert learn(Saved(path, "key")) == expected
    assert done == [1, 2, 3, -1, 4, -1, 5, 6, 7]


class Naive:
    """As the formulas read, in float64: all task vectors in memory, one graph from λ to the sum of all entropies."""

    def __init__(self, encoder: Encoder, vectors: np.ndarray, tasks: list[Task], recipe: Adaptation) -> None:
        parameters = encoder.layout.parameters
        unflatten = encoder.layout.unflatten
        self.pretrained = {n: torch.tensor(t).double() for n, t in unflatten(encoder.flat).items()}
        self.deltas = [{n: torch.tensor(t).double() for n, t in unflatten(vector).items()} for vector in vectors]
        self.names = [parameter.name for parameter in parameters]
        self.encoder, self.tasks, self.recipe = encoder, tasks, recipe
        shape = (len(tasks), len(parameters) if recipe.granularity == "layer" else 1)
        self.raw = torch.full(shape, recipe.initial, dtype=torch.float64, requires_grad=True)

    def losses(self, iteration: int) -> list[torch.Tensor]:
        """Entropy per task."""
        weights = self.raw.clamp(0, 1).expand(-1, len(self.names))
        theta = {
            name: self.pretrained[name] + sum(weights[k, i] * delta[name] for k, delta in enumerate(self.deltas))
            for i, name in enumerate(self.names)
        }
        return [entropy_of(theta, self.encoder, task, iteration, self.recipe) for task in self.tasks]

    def learn(self) -> tuple[np.ndarray, list[float]]:
        """Coefficients [K, tensors] and the mean entropy of every iteration."""
        course = course_of([self.raw], self.losses, self.recipe)
        return self.raw.detach().clamp(0, 1).expand(-1, len(self.names)).numpy(), course
