"""On which images Gram matrices are measured through the merged encoder, and how that is merged."""

from dataclasses import dataclass

from tatr.merging.methods.regmean_plusplus import OffDiagonal
from tatr.training.recipes.exemplars import Exemplars


@dataclass(frozen=True, kw_only=True)
class MergedExemplars(Exemplars):
    """Training images that stand for each task, and the setting of RegMean that merges what comes before a map."""

    off_diagonal: OffDiagonal
