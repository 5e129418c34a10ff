"""Sensitivities Ω: one module each, found by its name; adding one adds a module and changes nothing else.

Ω says of every parameter how much one task's loss reacts when the other tasks' updates move it. A sensitivity is a
function, named like its module, that takes what it needs, out of `task_vectors`, `gradients` and `signed_gradients`
(each one vector per task, in the same order), and gives Ω, a vector of values from 0 up. Its docstring starts with the
formula. The most sensitive share τ of the parameters is left as it is, unless the sensitivity states a threshold: then
Ω alone decides.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np

from tatr.errors import TatrError
from tatr.vectors.vector import Vector, computed, mapped, strips

MEASURED = ("gradients", "signed_gradients")
"""What sensitivities take that is measured on images of the tasks."""

Task = TypeVar("Task")

TOGETHER = 4
"""Tasks whose blocks are in memory at once: strips of all of them are added while the sums are in a core's cache."""


@dataclass(frozen=True)
class Sensitivity:
    """A sensitivity and what the pipeline must know of it."""

    name: str
    title: str
    """What tables call the trust region that it makes."""
    formula: Callable[..., Vector]
    """`(*needs)` → Ω, float32 [N]."""
    threshold: float | None = None
    """Parameters with a smaller Ω are merged, whatever their share; None where τ, their share, decides."""

    @property
    def needs(self) -> list[str]:
        """What it takes, out of `task_vectors`, `gradients` and `signed_gradients`."""
        return [*inspect.signature(self.formula).parameters]

    @property
    def needs_images(self) -> bool:
        """Whether it takes anything that is measured on images."""
        return not {*MEASURED}.isdisjoint(self.needs)

    def of(
        self,
        *,
        task_vectors: Sequence[Vector] | None = None,
        gradients: Sequence[Vector] | None = None,
        signed_gradients: Sequence[Vector] | None = None,
    ) -> Vector:
        """Ω, computed slice by slice on access.

        Args:
            task_vectors: Δ_k, each float32 [N].
            gradients: G_k ≥ 0, the mean absolute per-exemplar gradients at θ_pre, each float32 [N], in the same order.
            signed_gradients: ∇L_k, the mean gradients at θ_pre, each float32 [N], in the same order.

        Raises:
            TatrError: something that it needs is missing, there are fewer than two tasks, or the tasks differ in number
                or the vectors in length.
        """
        given = {"task_vectors": task_vectors, "gradients": gradients, "signed_gradients": signed_gradients}
        needed: dict[str, Sequence[Vector]] = {}
        for need in self.needs:
            if (vectors := given[need]) is None:
                raise TatrError(f"sensitivity '{self.name}': needs {need}, which were not given")
            needed[need] = vectors
        counts = {need: len(vectors) for need, vectors in needed.items()}
        if len(set(counts.values())) > 1:
            stated = " but ".join(f"{count} {need.replace('_', ' ')}" for need, count in counts.items())
            raise TatrError(f"sensitivity: {stated}")
        _check_tasks(min(counts.values()))
        return self.formula(*needed.values())


def sensitivity(title: str, threshold: float | None = None) -> Callable[[Callable[..., Vector]], Sensitivity]:
    """Declare a function a sensitivity, one that decides by itself if it states a threshold of Ω."""
    return lambda function: Sensitivity(function.__name__, title, function, threshold)


def names() -> list[str]:
    """All sensitivities there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache
def load(name: str) -> Sensitivity:
    """Import one sensitivity's module, and no other's."""
    if name not in names():
        raise TatrError(f"sensitivity '{name}': unknown; expected one of {', '.join(names())}")
    loaded: Any = getattr(importlib.import_module(f"tatr.merging.sensitivities.{name}"), name, None)
    if not isinstance(loaded, Sensitivity):
        raise TatrError(f"tatr/merging/sensitivities/{name}.py: has no function `{name}` under @sensitivity(title)")
    return loaded


def of_region(name: str | None, tau: float | None, default: str, tasks: int) -> Sensitivity | None:
    """What makes a trust region: the sensitivity that was asked for, or the usual one; None if none is wanted.

    Args:
        name: as a caller gave it.
        tau: τ.
        default: the usual one.
        tasks: K.

    Raises:
        TatrError: it needs τ and there is none, or τ is given and it decides by itself, or there are fewer than two
            tasks.
    """
    if name is None and tau is None:
        return None
    chosen = load(name or default)
    if chosen.threshold is None and tau is None:
        raise TatrError(f"sensitivity: '{name}' without tau; say which share of the parameters to leave out")
    if chosen.threshold is not None and tau is not None:
        raise TatrError(f"tau = {tau:g}: {takes_no_tau(chosen.name)}")
    _check_tasks(tasks)
    return chosen


def takes_no_tau(name: str) -> str:
    """Why a sensitivity with a threshold refuses τ."""
    return f"sensitivity '{name}' decides by itself which parameters are merged; leave tau out"


def _check_tasks(count: int) -> None:
    if count < 2:
        raise TatrError("a trust region needs at least two tasks, each of which it protects from the others' updates")


def cross_sum(reacting: Sequence[Vector], moving: Sequence[Vector]) -> Vector:
    """Σ_{i≠j} R_j ⊙ |M_i| over tasks, computed slice by slice on access.

    Args:
        reacting: R_k ≥ 0, each float32 [N].
        moving: M_k, each float32 [N], in the same order of tasks.
    """
    pairs = [*zip(reacting, moving, strict=True)]

    def part(block: slice) -> np.ndarray:
        sums = np.zeros((3, block.stop - block.start), np.float32)
        for group in _groups(pairs):
            entries = [(r[block], m[block]) for r, m in group]
            for strip in strips(block):
                _add(sums[:, strip], ((r[strip], np.abs(m[strip])) for r, m in entries))
        return sums[0]

    return computed(part, *reacting, *moving)


def pair_sum(vectors: Sequence[Vector]) -> Vector:
    """Σ_{i≠j} |V_j| ⊙ |V_i| over tasks, computed slice by slice on access; each pair of tasks is multiplied once.

    Args:
        vectors: V_k, each float32 [N].
    """

    def part(block: slice) -> np.ndarray:
        sums = np.zeros((2, block.stop - block.start), np.float32)
        for group in _groups(vectors):
            entries = [vector[block] for vector in group]
            for strip in strips(block):
                _add_pairs(sums[:, strip], (np.abs(of_task[strip]) for of_task in entries))
        return sums[0]

    return computed(part, *vectors)


def signed_cross_sum(reacting: Sequence[Vector], moving: Sequence[Vector]) -> Vector:
    """Σ_{i≠j} R_j ⊙ M_i over tasks, of any signs; computed slice by slice on access.

    Terms of either sign may nearly cancel, and the sum's sign is what is asked for. So it is summed in float64, where
    products of float32 numbers are exact, and in the form of `cross_sum`: a task's own product, R_k ⊙ M_k, which may
    dwarf all others, never enters.

    Args:
        reacting: R_k, each float32 [N].
        moving: M_k, each float32 [N], in the same order of tasks.

    Returns:
        float64 [N].
    """
    pairs = [*zip(reacting, moving, strict=True)]

    def part(block: slice) -> np.ndarray:
        sums = np.zeros((3, block.stop - block.start), np.float64)
        for r, m in pairs:
            reacts, moves = r[block], m[block]
            for strip in strips(block):
                _add(sums[:, strip], [(reacts[strip], moves[strip])])
        return sums[0]

    return computed(part, *reacting, *moving)


def magnitudes(vectors: Iterable[Vector]) -> list[Vector]:
    """|v| of each vector."""
    return [mapped(np.abs, vector) for vector in vectors]


def _groups(tasks: Sequence[Task]) -> Iterator[Sequence[Task]]:
    return (tasks[start : start + TOGETHER] for start in range(0, len(tasks), TOGETHER))


def _add(sums: np.ndarray, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
    """Add tasks, given as (R_k, M_k), to Ω, ΣR and ΣM, the rows of `sums`: one pass and 2K products in all.

    Each new task meets the running sums of the tasks before it: Ω += R_k ⊙ ΣM + M_k ⊙ ΣR. Where all terms are ≥ 0,
    nothing is subtracted, so nothing cancels; (ΣR) ⊙ (ΣM) − Σ R_k ⊙ M_k is the same sum, but loses digits where one
    task's values dwarf the others'.
    """
    omega, reacting_sum, moving_sum = sums
    product = np.empty_like(omega)
    for reacting, moving in pairs:
        omega += np.multiply(reacting, moving_sum, out=product)
        omega += np.multiply(moving, reacting_sum, out=product)
        reacting_sum += reacting
        moving_sum += moving


def _add_pairs(sums: np.ndarray, entries: Iterable[np.ndarray]) -> None:
    """Add tasks, given as V_k, to Ω and ΣV, the rows of `sums`, as `_add` does where R and M are one: the same bits."""
    omega, entries_sum = sums
    product = np.empty_like(omega)
    for of_task in entries:
        np.multiply(of_task, entries_sum, out=product)
        omega += product
        omega += product
        entries_sum += of_task
