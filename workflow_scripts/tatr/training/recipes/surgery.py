"""How a surgery module is trained."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from tatr.errors import TatrError


@dataclass(frozen=True, kw_only=True)
class Surgery:
    """How a module per task is trained: Adam on the L1 distance, `iterations` steps of `batch_size` images."""

    rank: Annotated[int, Interval(ge=1), "of the modules"] = 16
    iterations: Annotated[int, Interval(ge=1), "training steps per task"] = 500
    batch_size: Annotated[int, Interval(ge=1), "images per step"] = 32
    learning_rate: Annotated[float, Interval(gt=0), "of Adam"] = 1e-3
    split: Annotated[Literal["test", "validation"], "unlabelled images: of test, or held out"] = "test"
    seed: Annotated[int, Interval(ge=0), "of the modules' start and of the batches"]


def check_rank(rank: int, dimensions: int) -> None:
    """Raise where modules would be wider than the features that they correct."""
    if rank > dimensions:
        raise TatrError(f"rank {rank}: larger than the feature's {dimensions} dimensions; choose at most {dimensions}")
