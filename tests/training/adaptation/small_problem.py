"""Three tiny tasks, and AdaMerging as its formulas read."""

from pathlib import Path

import numpy as np
import torch
from stored import write_images

from tatr.clip import towers as clip
from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.merging.methods.ties import elect
from tatr.training.entropy import batch
from tatr.training.recipes.adaptation import Adaptation

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
        return [self._entropy(task, theta, iteration) for task in self.tasks]

    def _entropy(self, task: Task, theta: dict[str, torch.Tensor], iteration: int) -> torch.Tensor:
        images = task.unlabelled(self.recipe.split)
        chosen = images[batch(len(images), self.recipe.batch_size, iteration, self.recipe.seed, task.name)]
        pixels = clip.normalise(chosen, self.encoder.architecture).double()
        scores = clip.logits(theta, pixels, task.head.double(), self.encoder.architecture)
        return torch.distributions.Categorical(logits=scores).entropy().mean()

    def learn(self) -> tuple[np.ndarray, list[float]]:
        """Coefficients [K, tensors] and the mean entropy of every iteration."""
        optimiser = torch.optim.Adam([self.raw], lr=self.recipe.learning_rate)
        course = []
        for iteration in range(self.recipe.iterations):
            optimiser.zero_grad()
            losses = self.losses(iteration)
            sum(losses).backward()
            optimiser.step()
            course.append(sum(losses).item() / len(losses))
        return self.raw.detach().clamp(0, 1).expand(-1, len(self.names)).numpy(), course
