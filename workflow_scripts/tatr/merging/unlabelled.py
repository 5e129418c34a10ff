"""Settings of methods that learn from unlabelled images, which they share."""

from typing import Annotated, Literal

from annotated_types import Interval

Iterations = Annotated[int, Interval(ge=1), "steps of Adam"]
BatchSize = Annotated[int, Interval(ge=1), "unlabelled images per task and iteration"]
LearningRate = Annotated[float, Interval(gt=0), "of Adam"]
Split = Annotated[
    Literal["test", "validation"], "unlabelled images: of test, as the authors do, or held out of training"
]
