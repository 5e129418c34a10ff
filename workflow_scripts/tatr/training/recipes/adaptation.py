"""How AdaMerging's coefficients are learnt: the settings of the method, and a seed."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from tatr.merging.methods.ada_merging import Density, Granularity, Initial
from tatr.merging.unlabelled import BatchSize, Iterations, LearningRate, Split


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """How coefficients are learnt. Types, bounds and defaults are the method's (`tatr.merging.methods.ada_merging`)."""

    granularity: Granularity
    density: Density
    initial: Initial
    iterations: Iterations
    batch_size: BatchSize
    learning_rate: LearningRate
    split: Split
    seed: Annotated[int, Interval(ge=0), "of the batches"]
