"""AdaMerging's coefficients: learnt by making the merged model sure of its predictions (`tatr.training.entropy`).

θ = θ_pre + Σ_k Σ_l λ_kl Δ_kl, so ∂L/∂λ_kl = ⟨∂L/∂θ_l, Δ_kl⟩ follows from one pass over the task vectors, which lie in a
file without a name. A GPU keeps them, if there is room.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.training.banks import TaskVectorBank
from tatr.training.entropy import EntropyLearner
from tatr.training.recipes.adaptation import Adaptation
from tatr.training.resume import Saved
from tatr.training.scratch import ImageBank
from tatr.vectors.vector import Vector


def adapt(
    encoder: Encoder,
    task_vectors: Sequence[Vector],
    mask: Vector | None,
    tasks: Sequence[Task],
    recipe: Adaptation,
    device: str,
    folder: Path,
    saved: Saved | None = None,
) -> dict[str, Any]:
    """Learn the coefficients of a merge.

    Args:
        encoder: θ_pre.
        task_vectors: Δ_k, each [N].
        mask: True where the trust region is, bool [N]; None for no restriction. With it, and after trimming if the
            recipe has a density, the task vectors are masked before anything is learnt (Eq. 12 of arXiv 2501.15065).
        tasks: heads and images, in the order of the task vectors. Labels are not read.
        recipe: of the learning.
        device: for torch.
        folder: for temporary files of the size of all task vectors and images.
        saved: where the state is kept. Learning that resumes ends with the bytes of an undisturbed one.

    Returns:
        `tasks` and `tensors` (names), `coefficients` (λ_kl in [0, 1], a list per task), `split` (which the images
        are of) and `entropy`: pairs of an iteration and the mean entropy (nats) from it up to the next pair's.

    Raises:
        TatrError: a split is empty, or an entropy is not finite.
    """
    with (
        TaskVectorBank(folder, task_vectors, encoder.layout, mask, recipe.density, device) as vectors,
        ImageBank(folder, tasks, recipe.split) as images,
    ):
        learning = CoefficientLearner(encoder, vectors, tasks, images, recipe, device)
        learning.learn(saved or Saved(None, ""), "coefficients", vectors.keep)
    return {
        "tasks": [task.name for task in tasks],
        "tensors": [parameter.name for parameter in encoder.layout.parameters],
        # The shortest decimals that are these float32 values and no others.
        "coefficients": [[float(str(value)) for value in row] for row in learning.coefficients().numpy()],
        "split": recipe.split,
        "entropy": learning.course(),
    }


class CoefficientLearner(EntropyLearner):
    """Coefficients between two iterations."""

    def __init__(
        self,
        encoder: Encoder,
        vectors: TaskVectorBank,
        tasks: Sequence[Task],
        images: ImageBank,
        recipe: Adaptation,
        device: str,
    ) -> None:
        """Start from `recipe.initial` everywhere."""
        self._parameters, self._vectors, self._recipe = encoder.layout.parameters, vectors, recipe
        arrays = encoder.layout.unflatten(encoder.flat)
        self._pretrained = {name: torch.as_tensor(array, device=device) for name, array in arrays.items()}
        columns = len(self._parameters) if recipe.granularity == "layer" else 1
        self.raw = torch.full((len(tasks), columns), recipe.initial, requires_grad=True)
        """λ before it is clamped to [0, 1], float32 [K, tensors] or [K, 1], on the CPU."""
        super().__init__(encoder, {"raw": self.raw}, tasks, images, recipe, device)

    def coefficients(self) -> Tensor:
        """λ_kl in [0, 1], float32 [K, tensors]."""
        return self.raw.detach().clamp(0, 1).expand(-1, len(self._parameters))

    @torch.no_grad()
    def merge(self) -> None:
        """Set θ = θ_pre + Σ_k λ_k Δ_k, tensor by tensor."""
        coefficients = self.coefficients()
        for column, parameter in enumerate(self._parameters):
            tensor = self.theta[parameter.name].copy_(self._pretrained[parameter.name])
            for coefficient, row in zip(coefficients[:, column].tolist(), self._vectors.rows(parameter), strict=True):
                tensor.add_(row.view(parameter.shape), alpha=coefficient)

    @torch.no_grad()
    def gradients(self) -> Mapping[str, Tensor]:
        """∂L/∂λ from the gradient of θ, which is used up: float32, of the shape of `raw`.

        Where λ is clamped it is zero, as in the authors' code: a coefficient that has left [0, 1] stays at its bound.
        """
        columns = []
        for parameter in self._parameters:
            gradient = self._gradient(parameter.name).reshape(-1)
            columns.append(torch.stack([gradient @ row for row in self._vectors.rows(parameter)]))
        products = torch.stack(columns, dim=1)
        layerwise = self._recipe.granularity == "layer"
        by_coefficient = products if layerwise else products.sum(dim=1, keepdim=True)
        return {"raw": by_coefficient.cpu() * ((self.raw >= 0) & (self.raw <= 1))}
