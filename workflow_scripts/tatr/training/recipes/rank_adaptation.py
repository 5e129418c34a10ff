"""How AdaRank's coefficients and components are learnt: the settings of the method, and a seed."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from tatr.merging.methods.ada_rank import AUTHORS, Base, Initial, RankShare, Start
from tatr.merging.unlabelled import BatchSize, Iterations, LearningRate, Split


@dataclass(frozen=True, kw_only=True)
class RankAdaptation:
    """How ranks are learnt. Types, bounds and defaults are the method's (`tatr.merging.methods.ada_rank`)."""

    base: Base
    initial: Initial
    rank_share: RankShare
    iterations: Iterations
    batch_size: BatchSize
    learning_rate: LearningRate
    split: Split
    seed: Annotated[int, Interval(ge=0), "of the batches"]

    @property
    def start(self) -> Start:
        """λ and ρ before the first iteration, the authors' where none are given."""
        authors = AUTHORS[self.base]
        return Start(
            authors.initial if self.initial is None else self.initial,
            authors.rank_share if self.rank_share is None else self.rank_share,
        )
