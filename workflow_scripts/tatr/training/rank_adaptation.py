"""AdaRank's coefficients and components: learnt by making the merged model sure of its predictions.

θ = θ₀ + M ⊙ Σ_k λ_kl U_kl diag(b_kl ⊙ σ_kl) V_klᵀ at the weights of blocks. With G = M ⊙ ∂L/∂θ_l and p_i = u_iᵀ G v_i,
∂L/∂λ_kl = Σ_i b_i σ_i p_i and ∂L/∂b_i = λ_kl σ_i p_i follow from one pass over the singular vectors. These lie in a
file without a name, or on a GPU if there is room; one matrix of one task is in memory at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tatr.clip.encoder import Encoder
from tatr.data.task import Task
from tatr.errors import TatrError
from tatr.merging.layers import NUMBERED
from tatr.merging.methods.ada_rank import base_of, block_weights
from tatr.training.component_bank import ComponentBank, vectors_of
from tatr.training.entropy import EntropyLearner
from tatr.training.recipes.rank_adaptation import RankAdaptation
from tatr.training.resume import Saved
from tatr.training.scratch import ImageBank
from tatr.vectors.layout import Parameter
from tatr.vectors.order_statistics import share_of
from tatr.vectors.vector import Vector

SCORE = 0.1
"""|β| before the first iteration."""
TEMPERATURE = 10.0
"""b = [sigmoid(β / TEMPERATURE) > ½]."""


def adapt_ranks(
    encoder: Encoder,
    task_vectors: Sequence[Vector],
    mask: Vector | None,
    tasks: Sequence[Task],
    recipe: RankAdaptation,
    device: str,
    folder: Path,
    saved: Saved | None = None,
) -> dict[str, Any]:
    """Learn the coefficients of a merge, and which singular components of its task vectors stay.

    Args:
        encoder: θ_pre.
        task_vectors: Δ_k, each [N].
        mask: True where the trust region is, bool [N]; None for no restriction. It applies to the merged change.
        tasks: heads and images, in the order of the task vectors. Labels are not read.
        recipe: of the learning.
        device: for torch.
        folder: for temporary files of the size of all task vectors, half as much again, and images.
        saved: where the state is kept. Learning that resumes ends with the bytes of an undisturbed one.

    Returns:
        `tasks` and `tensors` (names), `coefficients` (λ_kl, a list per task), `kept` (per task, by the weight's name:
        the numbers of the components that stay, 0 the largest), `ranks` (per task, by the kind of weight: how many
        stay, and how many there are), `split` (which the images are of) and `entropy`: pairs of an iteration and the
        mean entropy (nats) from it up to the next pair's.

    Raises:
        TatrError: a split is empty, an entropy is not finite, or the encoder has no such weights.
    """
    if not block_weights(encoder.layout):
        raise TatrError("ada_rank: no parameter of this encoder is a weight of attention or MLP (`attn` or `mlp`)")
    with (
        ComponentBank(folder, task_vectors, encoder.layout, recipe.base, device) as components,
        ImageBank(folder, tasks, recipe.split) as images,
    ):
        base = _base(encoder, task_vectors, mask, recipe.base)
        learning = RankLearner(encoder, base, components, mask, tasks, images, recipe, device)
        learning.learn(saved or Saved(None, ""), "ranks", components.keep)
    return {
        "tasks": [task.name for task in tasks],
        "tensors": [parameter.name for parameter in encoder.layout.parameters],
        # The shortest decimals that are these float32 values and no others.
        "coefficients": [[float(str(value)) for value in row] for row in learning.coefficients.detach().numpy()],
        "kept": learning.kept(),
        "ranks": learning.ranks(),
        "split": recipe.split,
        "entropy": learning.course(),
    }


class Group(NamedTuple):
    """The components of one task's matrix."""

    weight: Parameter
    column: int
    """Of its λ."""
    task: int
    span: slice
    """Where they are among all components."""


class RankLearner(EntropyLearner):
    """Coefficients, and the scores by which components stay, between two iterations."""

    def __init__(
        self,
        encoder: Encoder,
        base: np.ndarray,
        components: ComponentBank,
        mask: Vector | None,
        tasks: Sequence[Task],
        images: ImageBank,
        recipe: RankAdaptation,
        device: str,
    ) -> None:
        """Start as `recipe.start` says, from θ₀, float32 [N]."""
        self._parameters, self._components = encoder.layout.parameters, components
        arrays = encoder.layout.unflatten(base)
        self._base = {name: torch.as_tensor(array, device=device) for name, array in arrays.items()}
        self._inside = {} if mask is None else dict(_inside(mask, self._parameters, device))
        self._groups = [*_groups(components.values, self._parameters)]
        self._values = torch.cat([its for parts in components.values.values() for its in parts])
        """σ of all components, float32, on the CPU, as all that is learnt."""
        self.coefficients = torch.full((len(tasks), len(self._parameters)), recipe.start.initial, requires_grad=True)
        """λ_kl, float32 [K, tensors]."""
        self.scores = torch.full_like(self._values, -SCORE)
        """β of all components."""
        self._owners = torch.empty(len(self._values), dtype=torch.int64)
        """Which λ is each component's, in the flat coefficients."""
        for weight, column, task, span in self._groups:
            self.scores[span][: max(1, share_of(recipe.start.rank_share, min(weight.shape)))] = SCORE
            self._owners[span] = task * len(self._parameters) + column
        learnt = {"coefficients": self.coefficients, "scores": self.scores.requires_grad_()}
        super().__init__(encoder, learnt, tasks, images, recipe, device)

    @torch.no_grad()
    def merge(self) -> None:
        """Set θ = θ₀ + M ⊙ what all tasks add, tensor by tensor."""
        stays = self.scores > 0
        factors = self.coefficients.view(-1)[self._owners] * self._values
        groups = iter(self._groups)
        for column, parameter in enumerate(self._parameters):
            tensor = self.theta[parameter.name].zero_()
            for task, row in enumerate(self._components.rows(parameter)):
                if parameter.name in self._components.values:
                    span = next(groups).span
                    _add(tensor, row, parameter, factors[span], stays[span])
                elif row.numel():
                    tensor.add_(row.view(parameter.shape), alpha=self.coefficients[task, column].item())
            if self._inside:
                tensor.mul_(self._inside[parameter.name])
            tensor.add_(self._base[parameter.name])

    @torch.no_grad()
    def gradients(self) -> Mapping[str, Tensor]:
        """∂L/∂λ and ∂L/∂β from the gradient of θ, which is used up; that of b goes through its sigmoid."""
        whole, products = torch.zeros_like(self.coefficients, device=self._device), []
        for column, parameter in enumerate(self._parameters):
            gradient = self._gradient(parameter.name)
            if self._inside:
                gradient.mul_(self._inside[parameter.name])
            for task, row in enumerate(self._components.rows(parameter)):
                if parameter.name in self._components.values:
                    left, right = vectors_of(row, parameter)
                    products.append(((left @ gradient) * right).sum(dim=1))
                elif row.numel():
                    whole[task, column] = gradient.reshape(-1) @ row
        slopes = self._values * torch.cat(products).cpu()
        of_coefficients = whole.cpu().view(-1).index_add(0, self._owners, slopes * (self.scores > 0))
        share = (self.scores / TEMPERATURE).sigmoid()
        by_score = self.coefficients.view(-1)[self._owners] * slopes * share * (1 - share) / TEMPERATURE
        return {"coefficients": of_coefficients.view_as(self.coefficients), "scores": by_score}

    def kept(self) -> list[dict[str, list[int]]]:
        """Per task, by the weight's name: the numbers of the components that stay, 0 the largest."""
        found: list[dict[str, list[int]]] = [{} for _ in self._tasks]
        for weight, _, task, span in self._groups:
            found[task][weight.name] = (self.scores[span] > 0).nonzero()[:, 0].tolist()
        return found

    def ranks(self) -> list[dict[str, list[int]]]:
        """Per task, by the kind of weight, of all blocks together: how many components stay, and how many there are."""
        found: list[dict[str, list[int]]] = [{} for _ in self._tasks]
        for weight, _, task, span in self._groups:
            counts = found[task].setdefault(NUMBERED.split(weight.name, maxsplit=1)[-1], [0, 0])
            counts[0] += int((self.scores[span] > 0).sum())
            counts[1] += span.stop - span.start
        return found


def _groups(values: Mapping[str, Sequence[Tensor]], parameters: Sequence[Parameter]) -> Iterator[Group]:
    """Weight by weight, and in each task by task."""
    end = 0
    for column, parameter in enumerate(parameters):
        for task, its in enumerate(values.get(parameter.name, ())):
            yield Group(parameter, column, task, slice(end, end := end + len(its)))


def _add(tensor: Tensor, row: Tensor, weight: Parameter, factors: Tensor, stays: Tensor) -> None:
    """Add the components of one task's matrix that stay, times their factors."""
    (numbers,) = stays.nonzero(as_tuple=True)
    if not len(numbers):
        return
    left, right = vectors_of(row, weight)
    if len(numbers) < len(stays):
        left, right = (vectors[numbers.to(tensor.device)] for vectors in (left, right))
    tensor.addmm_(left.T * factors[numbers].to(tensor.device), right)


def _base(encoder: Encoder, task_vectors: Sequence[Vector], mask: Vector | None, base: str) -> np.ndarray:
    """θ₀, float32 [N]: θ_pre, or the mean of the individual models; θ_pre outside of the trust region."""
    if base == "pretrained":
        return encoder.flat
    flat = encoder.flat.copy()
    for parameter in encoder.layout.parameters:
        part = slice(parameter.offset, parameter.stop)
        mean = base_of(task_vectors, parameter, base).reshape(-1)
        flat[part] += mean if mask is None else mean * mask[part]
    return flat


def _inside(mask: Vector, parameters: Sequence[Parameter], device: str) -> Iterator[tuple[str, Tensor]]:
    """Where the trust region is, by the tensor's name."""
    for parameter in parameters:
        inside = torch.tensor(mask[parameter.offset : parameter.stop], device=device)
        yield parameter.name, inside.view(parameter.shape)
