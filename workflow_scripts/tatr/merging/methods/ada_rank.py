"""AdaRank: of each task's singular components those that were learnt to help, weighted by learnt coefficients."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Interval

from tatr.errors import TatrError
from tatr.merging.matrices.decompositions import leading
from tatr.merging.matrices.each_parameter import each_parameter
from tatr.merging.matrices.task_matrices import is_matrix
from tatr.merging.methods import method
from tatr.merging.unlabelled import BatchSize, Iterations, LearningRate, Split
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector

# Named, as the recipe of the learning (`tatr.training.recipes.rank_adaptation`) has these fields, too.
Base = Annotated[
    Literal["pretrained", "mean"], "what task vectors are measured from: θ_pre, or the mean of the individual models"
]
Initial = Annotated[
    float | None, Interval(ge=0), "all λ before the first iteration; null for the authors' 0.3, or 2.3 from the mean"
]
RankShare = Annotated[
    float | None,
    Interval(gt=0, le=1),
    "share of each matrix's singular components, the largest, that are kept before the first iteration; null for the "
    "authors' 1, or 0.16 from the mean",
]


class Start(NamedTuple):
    """What the first iteration begins with."""

    initial: float
    """Every λ_kl."""
    rank_share: float
    """ρ."""


AUTHORS = {"pretrained": Start(0.3, 1.0), "mean": Start(2.3, 0.16)}
"""For ViT-B/32 with eight tasks, by the base."""


@method("AdaRank", coefficient=1.0)
def ada_rank(
    task_vectors: Sequence[Vector],
    layout: Layout,
    coefficients: np.ndarray,
    kept: Sequence[Mapping[str, Sequence[int]]],
    *,
    base: Base = "pretrained",
    initial: Initial = None,
    rank_share: RankShare = None,
    iterations: Iterations = 10_000,
    batch_size: BatchSize = 16,
    learning_rate: LearningRate = 1e-3,
    split: Split = "test",
) -> Iterator[np.ndarray]:
    """v = Σ_k Σ_l λ_kl U_kl diag(b_kl ⊙ σ_kl) V_klᵀ at the weights of blocks, Σ_k λ_kl Δ_kl elsewhere; λ and b learnt.

    Source: Lee et al. 2026, "AdaRank: Adaptive rank pruning for enhanced model merging" (arXiv 2503.22178, ICLR 2026),
    and its code. l counts parameter tensors, U_kl diag(σ_kl) V_klᵀ decomposes Δ_kl, and b, of zeros and ones, says
    which components stay. λ, of any size, and b minimise the entropy of the merged model's predictions on unlabelled
    images of all tasks. With `base: mean` (the authors' start from CART) Δ_kl − Δ̄_l takes the place of Δ_kl, and v has
    the mean Δ̄ besides.

    Learning is a step of its own (`rank_adaptation`), which all settings are for; what it learnt arrives here as
    `coefficients`, float32 [K, tensors], and `kept`: per task and weight the numbers of the components that stay, 0
    the largest. λ of θ_pre + λ·v stays 1. A component stays where β > 0, that is sigmoid(β/10) > ½. Its β starts at 0.1
    or −0.1, and is learnt by the gradient of the sigmoid (straight through). Adam moves it by about `learning_rate` an
    iteration at most: nothing is dropped or taken back before the hundredth.

    Defaults: the authors' for ViT-B/32 with eight tasks, 10,000 iterations among them. From θ_pre all components stay
    at first (they take ρ = 0.05 for 20 tasks) with λ = 0.3; from the mean 16 % of them, with λ = 2.3. Published (second
    hand), for eight tasks on ViT-B/32: 87.9 % from θ_pre, where λ alone reaches 80.1 and b alone 79.9; 89.2 from the
    mean. The authors' images are those that accuracy is then measured on; `split: validation` learns from images that
    were held out of training instead.

    Matrices are the weights of attention and MLP, as in the authors' code; attention's queries, keys and values are one
    stacked matrix. All else, positional embedding and projection too, has λ_kl alone.

    Trust region: the mask applies to the merged change in every iteration, θ = θ_pre + v ⊙ mask, and gradients come
    through it (as Eq. 12 of arXiv 2501.15065 has it for AdaMerging); so it is learnt anew for each mask. Task vectors
    are decomposed unmasked, as masked ones have other components, and merging some of these would fill masked entries
    again. As v is masked here, too, what is merged is what was learnt.

    Differences from the authors' code: it evaluates on labelled test images as it learns, and reports the best accuracy
    that it saw. Here nobody looks at labels, and the last iteration counts. An epoch's last batch is filled up from the
    next epoch. Of every matrix at least one component stays at the start.

    Cost: per matrix and task a decomposition (4 minutes on a core for eight ViT-B/32, here and in learning); one pass
    over the task vectors, two with `base: mean`. In memory are the result and one task's matrix with its components, in
    float64, however many tasks there are; threads take as many matrices at once as fit into 256 MiB.

    Raises:
        TatrError: coefficients or kept components are of another encoder, or of matrices of lower rank.
    """
    factors = _checked(coefficients, kept, layout, len(task_vectors))

    def merged(parameter: Parameter) -> np.ndarray:
        stay = [its.get(parameter.name) for its in kept]
        return _merged(task_vectors, parameter, base, factors[parameter.name], stay)

    return each_parameter(merged, layout, lambda parameter: (88 if parameter.name in kept[0] else 28) * parameter.size)


def block_weights(layout: Layout) -> list[Parameter]:
    """The matrices whose components are chosen: the weights of attention and MLP."""
    return [p for p in layout.parameters if is_matrix(p) and ("attn" in p.name or "mlp" in p.name)]


def base_of(task_vectors: Sequence[Vector], parameter: Parameter, base: str) -> np.ndarray:
    """What tasks are measured from, as a change of θ_pre: Δ̄ or zeros, float64 in the parameter's shape."""
    total = np.zeros(parameter.size)
    for vector in task_vectors if base == "mean" else ():
        total += vector[parameter.offset : parameter.stop]
    return (total / len(task_vectors)).reshape(parameter.shape)


def deviations(task_vectors: Sequence[Vector], parameter: Parameter, base: np.ndarray) -> Iterator[np.ndarray]:
    """Each task's Δ_k less the base, float64 in the parameter's shape."""
    for vector in task_vectors:
        yield vector[parameter.offset : parameter.stop].astype(np.float64).reshape(parameter.shape) - base


def _merged(
    task_vectors: Sequence[Vector],
    parameter: Parameter,
    base: str,
    factors: np.ndarray,
    stay: Sequence[Sequence[int] | None],
) -> np.ndarray:
    """One parameter of v; None stays whole."""
    start = base_of(task_vectors, parameter, base)
    total = start.copy()
    for change, factor, numbers in zip(deviations(task_vectors, parameter, start), factors, stay, strict=True):
        total += factor * (change if numbers is None else _pruned(change, parameter, numbers))
    return total.astype(np.float32)


def _pruned(matrix: np.ndarray, parameter: Parameter, numbers: Sequence[int]) -> np.ndarray:
    """The matrix of some of the singular components of one."""
    if not numbers:
        return np.zeros_like(matrix)
    last, chosen = max(numbers), sorted({*numbers})
    left, values, right = leading(matrix, last + 1)
    if last >= len(values):
        raise TatrError(
            f"ada_rank: component {last} of '{parameter.name}' is to stay, but a task's matrix there has rank "
            f"{len(values)}; learn them for these task vectors"
        )
    return (left[:, chosen] * values[chosen]) @ right[:, chosen].T


def _checked(
    coefficients: np.ndarray, kept: Sequence[Mapping[str, Sequence[int]]], layout: Layout, tasks: int
) -> dict[str, np.ndarray]:
    """λ of all tasks by the parameter's name, if they and the kept components are of this layout."""
    coefficients, shape = np.asarray(coefficients, np.float32), (tasks, len(layout.parameters))
    if coefficients.shape != shape:
        raise TatrError(
            f"ada_rank: coefficients of shape {list(coefficients.shape)}, expected {[*shape]} (tasks, parameter "
            "tensors); learn them for this encoder"
        )
    ranks = {parameter.name: min(parameter.shape) for parameter in block_weights(layout)}
    for task, its in enumerate(kept, 1):
        where = f"ada_rank: components of task vector {task}"
        if different := ranks.keys() ^ its.keys():
            name = min(different)
            what = "none are given of" if name in ranks else "this encoder has no weight"
            raise TatrError(f"{where}: {what} '{name}'; learn them for this encoder")
        for name, numbers in its.items():
            if wrong := [number for number in numbers if not 0 <= number < ranks[name]]:
                raise TatrError(f"{where}: '{name}' has no component {wrong[0]}, expected 0 to {ranks[name] - 1}")
    return {p.name: column for p, column in zip(layout.parameters, coefficients.T, strict=True)}
