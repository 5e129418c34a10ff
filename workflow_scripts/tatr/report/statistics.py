"""Is a difference real? Bootstrap intervals of accuracies and of their differences, over test images; and Student-t
intervals over seeds.

The bootstrap is stratified: each task's test images are drawn anew, as many as there are, with replacement; the
statistic is the mean over tasks. Of an image only one of two or three outcomes counts (right or wrong; or which of two
models alone is right). So how often each is drawn is binomial or multinomial, and is drawn as such: the very same
distribution as of drawing images one by one (Efron & Tibshirani 1993, ch. 6 and 13), in no time whatever their number.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tatr.errors import TatrError
from tatr.measuring.predictions import Predictions

RESAMPLES = 20_000
CONFIDENCE = 0.95
SEED = 0
"""Of the resampling: equal predictions give equal intervals."""


class Interval(NamedTuple):
    """A figure with its interval, in the figure's unit."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the figure is told from 0."""
        return self.low > 0 or self.high < 0


class Discordance(NamedTuple):
    """Two models on the same images of a task."""

    gained: int
    """Images that the first alone classifies correctly."""
    lost: int
    """Images that the second alone does."""
    images: int

    @property
    def difference(self) -> float:
        """Accuracy of the first minus that of the second."""
        return (self.gained - self.lost) / self.images

    @property
    def p_value(self) -> float:
        """Of McNemar's exact test (1947): that the two are equally often alone right."""
        from scipy.stats import binomtest  # slow to import, and readers of tables need none of it

        discordant = self.gained + self.lost
        return float(binomtest(self.gained, discordant).pvalue) if discordant else 1.0


def average_accuracy(by_task: Mapping[str, Predictions]) -> Interval:
    """Mean accuracy over tasks, in [0, 1], with its interval."""
    rng = np.random.default_rng(SEED)
    counts = [(int(of_task.right.sum()), len(of_task)) for _, of_task in sorted(by_task.items())]
    drawn = [rng.binomial(images, right / images, RESAMPLES) / images for right, images in counts]
    return _interval(sum(right / images for right, images in counts) / len(counts), np.mean(drawn, axis=0))


def average_difference(one: Mapping[str, Predictions], other: Mapping[str, Predictions]) -> Interval:
    """Mean over tasks of the first model's accuracy minus the second's, with its interval (paired by image).

    Raises:
        TatrError: they were not evaluated on the same images.
    """
    rng, tasks = np.random.default_rng(SEED), discordances(one, other).values()
    drawn = []
    for gained, lost, images in tasks:
        shares = [gained / images, lost / images, (images - gained - lost) / images]
        counts = rng.multinomial(images, shares, RESAMPLES)
        drawn.append((counts[:, 0] - counts[:, 1]) / images)
    return _interval(sum(task.difference for task in tasks) / len(tasks), np.mean(drawn, axis=0))


def discordances(one: Mapping[str, Predictions], other: Mapping[str, Predictions]) -> dict[str, Discordance]:
    """Per task, in alphabetical order, on which images only one of two models is right.

    Raises:
        TatrError: they were not evaluated on the same images.
    """
    if one.keys() != other.keys():
        raise TatrError(
            f"evaluated on different tasks ({', '.join(sorted(one))}; {', '.join(sorted(other))}): no pairs to compare"
        )
    found = {}
    for task in sorted(one):
        if not np.array_equal(one[task].labels, other[task].labels):
            raise TatrError(f"evaluated on different test images of '{task}' ({len(one[task])}, {len(other[task])})")
        first, second = one[task].right, other[task].right
        found[task] = Discordance(int((first & ~second).sum()), int((second & ~first).sum()), len(first))
    return found


def mean_over_seeds(values: Sequence[float]) -> Interval:
    """Mean of a figure over several seeds, with its Student-t interval: what other seeds would give on average.

    Args:
        values: one per seed.

    Raises:
        TatrError: there is one seed, which does not tell how much another would change.
    """
    from scipy.stats import t  # slow to import, and tables of one seed need none of it

    if len(values) < 2:
        raise TatrError("an interval over seeds needs two seeds or more; give `seeds: [0, 1, 2]`")
    mean, count = float(np.mean(values)), len(values)
    half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * float(np.std(values, ddof=1)) / count**0.5
    return Interval(mean, mean - half, mean + half)


def _interval(value: float, drawn: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))
