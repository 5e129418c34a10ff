"""Gram matrices of inputs that came through a merged encoder, as RegMean++ measures them: how they lie in one vector.

They are measured part by part (a residual block's linear maps, then the projection), in each part task by task, and
written down as they come. What is embedded has no prefix to be merged, so the patch convolution has no such matrix.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tatr.merging.layers import by_depth
from tatr.merging.matrices.linear_maps import inputs_of, is_linear_map
from tatr.vectors.gathered import Gathered
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector


def maps_in(part: Iterable[Parameter]) -> list[Parameter]:
    """The linear maps among a part's parameters."""
    return [parameter for parameter in part if is_linear_map(parameter)]


def measured(layout: Layout) -> list[list[Parameter]]:
    """All linear maps that have such matrices: those of each residual block in order, and the projection at the end."""
    return [maps_in(part) for part in by_depth(layout)[1:]]


def of_maps(maps: Iterable[Parameter]) -> Layout:
    """Where a task's matrices of these linear maps lie, by the weights' names, each (in, in)."""
    return Layout.of({weight.name: _shape(weight) for weight in maps})


def of_one(layout: Layout) -> Layout:
    """Where all matrices of a task lie."""
    return of_maps(weight for maps in measured(layout) for weight in maps)


def of_tasks(layout: Layout, tasks: Sequence[str]) -> Layout:
    """Where those of all tasks lie in one vector, in the order in which they are measured: task/weight."""
    shapes = {f"{task}/{w.name}": _shape(w) for maps in measured(layout) for task in tasks for w in maps}
    return Layout.of(shapes)


def of_task(layout: Layout, stored: Layout, values: Vector, task: str) -> Vector:
    """One task's matrices, over `of_one(layout)`, out of those over `stored`, which `of_tasks` gave."""
    places = {place.name: place.offset for place in stored.parameters}

    def fill(weight: str, inside: slice, entries: np.ndarray) -> None:
        offset = places[f"{task}/{weight}"]
        entries[:] = values[offset + inside.start : offset + inside.stop]

    return Gathered(of_one(layout), fill, f"Gram matrices of {task}")


def _shape(weight: Parameter) -> tuple[int, int]:
    return inputs_of(weight), inputs_of(weight)
