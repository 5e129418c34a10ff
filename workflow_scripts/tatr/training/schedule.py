"""The learning rate's course: linear warm-up, then half a cosine down to zero."""

import math


def learning_rate_at(step: int, peak: float, warmup_steps: int, steps: int) -> float:
    """Learning rate of a step, counted from 0 up to `steps`; the warm-up is a part of these."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * done)) / 2
