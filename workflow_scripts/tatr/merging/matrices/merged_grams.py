"""Gram matrices of inputs that came through a merged encoder, as RegMean++ measures them: how they lie in one vector.

They are measured group by group (a residual block's linear maps, then the projection), in each group task by task, and
written down as they come. What is embedded has no prefix to be merged, so the patch convolution has no such matrix.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from tatr.merging.matrices.linear_maps import inputs_of, is_linear_map
from tatr.vectors.gathered import Gathered
from tatr.vectors.layout import Layout, Parameter
from tatr.vectors.vector import Vector

BLOCKS = "visual.transformer.resblocks"
PROJECTION = "visual.proj"


def groups(layout: Layout) -> list[list[Parameter]]:
    """The linear maps that have such matrices, of each residual block in order, and the projection at the end."""
    blocks = [p for p in layout.parameters if is_linear_map(p) and p.name.startswith(f"{BLOCKS}.")]
    by_block = [[*maps] for _, maps in groupby(sorted(blocks, key=block_of), block_of)]
    return [*by_block, [parameter for parameter in layout.parameters if parameter.name == PROJECTION]]


def measured(layout: Layout) -> list[Parameter]:
    """All linear maps that have such matrices."""
    return [weight for group in groups(layout) for weight in group]


def block_of(parameter: Parameter) -> int:
    """The number of the residual block that a parameter is in."""
    return int(parameter.name.removeprefix(f"{BLOCKS}.").partition(".")[0])


def of_one(maps: Iterable[Parameter]) -> Layout:
    """Where one task's matrices of these linear maps lie, by the weights' names, each (in, in)."""
    return Layout.of({weight.name: _shape(weight) for weight in maps})


def of_tasks(layout: Layout, tasks: Sequence[str]) -> Layout:
    """Where those of all tasks lie in one vector, in the order in which they are measured: task/weight."""
    shapes = {f"{task}/{w.name}": _shape(w) for group in groups(layout) for task in tasks for w in group}
    return Layout.of(shapes)


def of_task(layout: Layout, stored: Layout, values: Vector, task: str) -> Vector:
    """One task's matrices, over `of_one(measured(layout))`, out of those over `stored`, which `of_tasks` gave."""
    places = {place.name: place.offset for place in stored.parameters}

    def entries(weight: str, inside: slice) -> np.ndarray:
        offset = places[f"{task}/{weight}"]
        return values[offset + inside.start : offset + inside.stop]

    return Gathered(of_one(measured(layout)), entries, f"Gram matrices of {task}")


def _shape(weight: Parameter) -> tuple[int, int]:
    return inputs_of(weight), inputs_of(weight)
